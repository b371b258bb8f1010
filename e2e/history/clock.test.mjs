// The server's clock is set while it runs: histories and page ids go by a clock that cannot be set.
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { folder } from '../support/programs.mjs';
import { LIMIT, numbersThroughBreaks } from './load.mjs';
import { historyWorld, until, upTo } from './world.mjs';

/** Within the ten minutes in which the server takes a signature. */
const JUMPS = ['+300s', '-300s', '+0'];

let world;
let dir;
let clock;
before(async () => {
  dir = await folder();
  clock = dir.path('clock');
  writeFileSync(clock, '-300s');
  const folders = ['x86_64-linux-gnu', 'aarch64-linux-gnu'].map((machine) => `/usr/lib/${machine}/faketime`);
  world = await historyWorld('*:500:120s', {
    LD_PRELOAD: path.join(folders.find(existsSync), 'libfaketime.so.1'),
    FAKETIME_TIMESTAMP_FILE: clock, FAKETIME_NO_CACHE: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1',
  });
}, LIMIT);
after(async () => {
  await world?.close();
  await dir.remove();
});

test('each event is delivered exactly once, in order, while the clock jumps', LIMIT, async () => {
  /** By how many seconds the server's clock is ahead, as its responses say. */
  const ahead = async () => Date.parse((await fetch(`${world.server.url}/up`)).headers.get('date')) / 1000 - Date.now() / 1000;
  assert.ok(await ahead() < -200);
  let n = 0;
  const jumping = setInterval(() => {
    writeFileSync(clock, JUMPS[n % JUMPS.length]);
    n += 1;
  }, 1_300);
  const { all, last } = await numbersThroughBreaks(world, 2);
  await until(async () => await ahead() > 200, { what: 'the other clock' }).finally(() => clearInterval(jumping));
  for (const { name, heard, gaps } of all) {
    await until(() => heard.includes(last), { what: `event ${last} on ${name}` });
    assert.deepEqual(gaps, [], name);
    assert.deepEqual(heard, upTo(last), name);
  }
});
