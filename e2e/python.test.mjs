// The server SDK `pusher` from PyPI, run by python/test_pusher.py.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'node:test';
import { startServer } from './support/server.mjs';

const run = promisify(execFile);
const here = (name) => fileURLToPath(new URL(name, import.meta.url));

test('the Python SDK publishes, reads and terminates', { timeout: 120_000 }, async (t) => {
  const python = here('.venv/bin/python');
  if (!existsSync(here('.venv/installed'))) {
    await run('python3', ['-m', 'venv', here('.venv')]);
    await run(python, ['-m', 'pip', 'install', '-q', '-r', here('python/requirements.txt')]);
    await run('touch', [here('.venv/installed')]);
  }
  const server = await startServer();
  t.after(() => server.stop());
  await run(python, [here('python/test_pusher.py'), String(server.port)]);
});
