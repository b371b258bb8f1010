// Histories in a file: a server that is killed and started again loses no event that it accepted.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { historyWorld, until, upTo } from './world.mjs';

const LIMIT = { timeout: 180_000 };

let folder;
let world;
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'clarim-history-'));
  world = await historyWorld('*:500:120s', { CLARIM_HISTORY_PATH: path.join(folder, 'history.db') });
}, LIMIT);
after(async () => {
  await world?.close();
  await rm(folder, { recursive: true, force: true });
});

const NAMES = ['numbers', 'private-numbers', 'presence-numbers', 'private-encrypted-numbers'];

test('clients get what they missed while the server was killed and started again', LIMIT, async () => {
  const follow = async (name) => {
    const page = world.page({ level: 2, user: { id: 1, info: {} } });
    return { name, gaps: page.gaps, ...await page.follow(name) };
  };
  const pages = await Promise.all(NAMES.map(follow));
  const echo = { name: 'Echo on private-numbers', ...await world.echo(2, 'numbers') };
  let last = 0;
  const publish = async () => {
    last += 1;
    for (const name of NAMES) await world.publish(name, last);
  };
  for (let round = 0; round < 3; round += 1) {
    await publish();
    const mend = world.network.cut();
    for (let n = 0; n < 20; n += 1) await publish();
    await world.server.kill();
    await world.server.start();
    for (let n = 0; n < 5; n += 1) await publish();
    mend();
    for (const { name, heard } of [...pages, echo]) {
      await until(() => heard.includes(last), { what: `event ${last} on ${name}`, timeout: 60_000 });
    }
  }
  for (const { name, heard, gaps } of [...pages, echo]) {
    assert.deepEqual(heard, upTo(last), name);
    assert.deepEqual(gaps, [], name);
  }
});
