// Starts the real server binary for a test, with an app whose credentials are known.
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { until } from './events.mjs';

const binary = path.resolve(
  process.env.CLARIM_BIN ?? fileURLToPath(new URL('../../target/debug/clarim', import.meta.url)),
);

export const app = { appId: '123456', key: 'reverb-key', secret: 'reverb-secret' };

export function freePort() {
  return new Promise((resolve, reject) => {
    const probe = net.createServer().once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

/**
 * `stop` asks the server to end (SIGTERM) and waits for it, `kill` does not ask; after either, and not before,
 * `start` brings it back on the same port. `restart` is `stop` and `start`.
 */
export async function startServer({ port, env = {} } = {}) {
  port ??= await freePort();
  const dir = await mkdtemp(path.join(tmpdir(), 'clarim-e2e-'));
  let child;
  let output = '';

  async function start() {
    child = spawn(binary, ['start', '--host', '127.0.0.1', '--port', String(port)], {
      cwd: dir,
      env: {
        ...ownEnvironment(),
        REVERB_APP_ID: app.appId,
        REVERB_APP_KEY: app.key,
        REVERB_APP_SECRET: app.secret,
        CLARIM_STATE_DIR: path.join(dir, 'state'),
        ...env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const started = child;
    started.ended = new Promise((resolve) => {
      started.once('error', (error) => {
        output += `${binary}: ${error.message}\n`;
        resolve({ code: null, signal: null });
      });
      started.once('close', (code, signal) => resolve({ code, signal }));
    });
    let over = false;
    started.ended.then(() => { over = true; });
    for (const stream of [started.stdout, started.stderr]) {
      stream.on('data', (chunk) => { output += chunk; });
    }
    await until(async () => {
      if (over) throw new Error(`the server ended before it was ready:\n${output}`);
      return fetch(`http://127.0.0.1:${port}/up`).then((answer) => answer.ok, () => false);
    }, { what: 'GET /up', timeout: 10_000 });
  }

  async function end(signal) {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    return child.ended;
  }

  await start();
  return {
    ...app,
    port,
    start,
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
    async restart() {
      const result = await end('SIGTERM');
      await start();
      return result;
    },
    /** For the end of a file: nothing of the server is left. */
    async dispose() {
      await end('SIGKILL');
      await rm(dir, { recursive: true, force: true });
    },
    output: () => output,
  };
}

/** The environment of the tests, without settings that happen to be in it. */
function ownEnvironment() {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(REVERB|CLARIM)_/.test(name)),
  );
}
