// The types that `cargo xtask types` writes, and a front end that uses them. It type-checks, and no longer
// does when an event has changed. (A test of the crate checks that a changed event changes the file.)
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { test } from 'node:test';

const limit = { timeout: 300_000 };
const here = fileURLToPath(new URL('.', import.meta.url));

/** The output of tsc for a front end with changed events. */
async function check(change) {
  // Below this folder, so that the packages are found.
  const folder = await mkdtemp(`${here}.types-`);
  try {
    await cp(`${here}types`, folder, { recursive: true });
    const events = await readFile(`${folder}/events.ts`, 'utf8');
    const changed = change(events);
    await writeFile(`${folder}/events.ts`, changed);
    await promisify(execFile)(`${here}node_modules/.bin/tsc`, ['--project', folder]);
    return { same: changed === events, said: '' };
  } catch (error) {
    assert.equal(error.code, 2, error);
    return { same: false, said: error.stdout };
  } finally {
    await rm(folder, { recursive: true });
  }
}

test('a front end with the right types type-checks', limit, async () => {
  assert.deepEqual(await check((events) => events), { same: true, said: '' });
});

test('a renamed field or event, or a changed type, is an error', limit, async () => {
  const cases = [
    ['tracking: string', 'tracking_code: string', /Property 'tracking' does not exist on type/],
    ['"OrderShipped"', '".order.shipped"', /'"OrderShipped"' is not assignable/],
    ['order: number', 'order: bigint', /Property 'toFixed' does not exist on type 'bigint'/],
  ];
  for (const [old, changed, complaint] of cases) {
    const { said } = await check((events) => events.replace(old, changed));
    assert.match(said, complaint);
  }
});
