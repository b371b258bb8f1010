// The tests in the server SDK's npm package that send requests, unmodified: tests/remote. Those in
// tests/integration answer themselves.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { certificate, folder } from '../support/programs.mjs';
import { app, startServer } from '../support/server.mjs';

const limit = { timeout: 300_000 };
const packages = fileURLToPath(new URL('../node_modules/', import.meta.url));
const remote = `${packages}pusher/tests/remote/pusher`;
const files = readdirSync(remote).map((file) => `${remote}/${file}`);
const TESTS = 7;

/** Mocha's report. PUSHER_URL is the suite's only setting. */
function mocha(PUSHER_URL, env) {
  const args = [`${packages}mocha/bin/mocha.js`, '--reporter', 'json', '--timeout', '60000', ...files];
  return new Promise((resolve, reject) => {
    execFile(process.execPath, args, { env: { ...process.env, ...env, PUSHER_URL } }, (error, output, errors) => {
      try {
        resolve(JSON.parse(output));
      } catch {
        reject(error ?? new Error(errors));
      }
    });
  });
}

// One after the other: the suite starts a proxy on a fixed port, 8321.
for (const secure of [false, true]) {
  test(`tests/remote of pusher, ${secure ? 'https' : 'http'}`, limit, async (t) => {
    const dir = await folder();
    t.after(() => dir.remove());
    const tls = secure ? await certificate(dir) : undefined;
    const server = await startServer({ tls });
    t.after(() => server.dispose());
    const { appId, key, secret } = app;
    const url = `${secure ? 'https' : 'http'}://${key}:${secret}@localhost:${server.port}/apps/${appId}`;
    const { tests, failures, pending } = await mocha(url, tls && { NODE_EXTRA_CA_CERTS: tls.cert });
    for (const { fullTitle, err } of tests) await t.test(fullTitle, () => assert.deepEqual(err, {}));
    // Hooks can fail too.
    assert.deepEqual([...failures, ...pending], []);
    assert.ok(tests.length >= TESTS, `only ${tests.length} of ${TESTS} tests ran`);
  });
}
