// Each event exactly once, with @clarim/js, although the network breaks.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { LIMIT, numbersThroughBreaks } from './load.mjs';
import { historyWorld, until, upTo } from './world.mjs';

let world;
before(async () => { world = await historyWorld('*:500:120s'); }, LIMIT);
after(() => world?.close());

test('each event is delivered once, in order, and there is no gap', LIMIT, async (t) => {
  const { all, last } = await numbersThroughBreaks(world, 2);
  for (const { name, heard, gaps } of all) {
    await until(() => heard.includes(last), { what: `event ${last} on ${name}` });
    assert.deepEqual(heard, upTo(last), name);
    assert.deepEqual(gaps, [], name);
  }
  t.diagnostic(`${last} events to each of ${all.length} clients`);
});
