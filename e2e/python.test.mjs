// Server SDK and WebSocket clients from PyPI, run by python/test_pusher.py.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'node:test';
import { freePort } from './support/ports.mjs';
import { startServer } from './support/server.mjs';

const run = promisify(execFile);
const here = (name) => fileURLToPath(new URL(name, import.meta.url));
/** `cargo xtask setup` installs it. */
const python = here('../target/python/e2e/bin/python');

test('the Python SDK and clients publish, listen, read and sign', { timeout: 300_000 }, async (t) => {
  const server = await startServer();
  t.after(() => server.dispose());
  await run(python, [here('python/test_pusher.py'), String(server.port)]);
});

test("Prometheus's own parser reads the metrics", { timeout: 300_000 }, async (t) => {
  const token = 'a token of this test';
  const server = await startServer({ env: { CLARIM_METRICS_TOKEN: token } });
  t.after(() => server.dispose());
  await run(python, [here('python/test_metrics.py'), String(server.port), token]);
});

test('the Python SDK accepts a webhook', { timeout: 300_000 }, async (t) => {
  const port = await freePort();
  const server = await startServer({ env: { REVERB_APP_WEBHOOKS: `http://127.0.0.1:${port}/` } });
  t.after(() => server.dispose());
  await run(python, [here('python/test_webhook.py'), String(server.port), String(port)]);
});

test('the manifests fit the schemas of Kubernetes', { timeout: 300_000 }, async () => {
  await run(python, [here('python/test_kubernetes.py'), here('../deploy/kubernetes/clarim.yaml')]);
});
