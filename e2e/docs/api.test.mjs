// Runs the commands of docs/api.md in order, in one shell, and compares what they print with the page.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { world } from '../support/clients.mjs';
import { once } from '../support/events.mjs';
import { codeBlocks } from './page.mjs';

const CREDENTIALS = /^server=\S+ app=\S+ key=\S+ secret=\S+$/m;
const MARK = '=== next block ===';

/** A value of the page, in which `…` stands for any text. */
function matches(expected, actual) {
  if (expected === '…') return typeof actual === 'string';
  if (typeof expected !== 'object' || expected === null) return expected === actual;
  const names = Object.keys(expected);
  return typeof actual === 'object' && actual !== null
    && JSON.stringify(names.toSorted()) === JSON.stringify(Object.keys(actual).toSorted())
    && names.every((name) => matches(expected[name], actual[name]));
}

for (const page of ['api.md', 'api.pt-BR.md']) {
  test(`the commands of ${page} print what the page says`, { timeout: 300_000 }, async (t) => {
    const blocks = codeBlocks(page);
    const here = await world({ env: { CLARIM_APP_HISTORY: 'orders:100:10m' } });
    t.after(() => here.close());
    const client = await here.connected({ user: { id: 'ana', info: {} } });
    client.signin();
    await once(client, 'pusher:signin_success');
    for (const name of ['orders', 'presence-chat']) await once(client.subscribe(name), 'pusher:subscription_succeeded');

    const { appId, key, secret, url } = here.server;
    const ours = `server=${url} app=${appId} key=${key} secret=${secret}`;
    const commands = blocks.filter(({ language }) => language === 'sh').map(({ code }) => code);
    assert.match(commands[0], CREDENTIALS);
    const script = commands.map((code) => `${code.replace(CREDENTIALS, ours)}printf '\\n%s\\n' '${MARK}'`).join('\n');
    const { stdout } = await promisify(execFile)('sh', ['-ec', script]);
    const outputs = stdout.split(`\n${MARK}\n`).map((text) => text.trim());

    let shown = -1;
    for (const { language, code } of blocks) {
      if (language === 'sh') shown += 1;
      else if (language === 'text') assert.equal(outputs[shown], code.trim());
      else assert.ok(matches(JSON.parse(code), JSON.parse(outputs[shown])), `${commands[shown]}\n${outputs[shown]}\ninstead of\n${code}`);
    }
    assert.ok(shown > 10);
  });
}
