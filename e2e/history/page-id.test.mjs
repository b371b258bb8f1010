// Page ids: nothing is lost by unmodified clients, although the network breaks.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { BREAKS, LIMIT, numbersThroughBreaks } from './load.mjs';
import { historyWorld, until } from './world.mjs';

let world;
before(async () => { world = await historyWorld('*:500:120s'); }, LIMIT);
after(() => world?.close());

test('each event is delivered, in order, and at most the last ones before a break twice', LIMIT, async (t) => {
  const { all, last } = await numbersThroughBreaks(world, 1);
  let repeated = 0;
  for (const { name, heard, gaps } of all) {
    await until(() => heard.includes(last), { what: `event ${last} on ${name}` });
    assert.deepEqual(gaps, [], name);
    // In each step a client gets the next event, or, once per break, goes back.
    let back = 0;
    let known = 0;
    for (const [i, n] of heard.entries()) {
      const before = heard[i - 1] ?? 0;
      assert.ok(n <= known + 1, `${name}: ${n} after ${known}`);
      if (n !== before + 1) back += 1;
      known = Math.max(known, n);
    }
    assert.equal(known, last);
    assert.ok(back <= BREAKS, `${name} went back ${back} times`);
    repeated += heard.length - last;
  }
  t.diagnostic(`${last} events to each of ${all.length} clients, ${repeated} deliveries repeated`);
});
