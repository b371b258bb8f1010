// Starts the server binary for a test. The only place with its command line.
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { until } from './events.mjs';
import { freePort } from './ports.mjs';

// Not `new URL` with a variable part: Vite, whose tests use this file too, would treat it as an asset.
const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '../..');
/** A program that `cargo xtask build` has built, or an example, as `examples/NAME`. */
export const built = (name) => path.join(root, 'target/debug', name);

export const binary = path.resolve(process.env.CLARIM_BIN ?? built('clarim'));

/** Running servers, which end with the process of the tests. */
const running = new Set();
process.once('exit', () => { for (const child of running) child.kill('SIGKILL'); });

export const app = { appId: '123456', key: 'reverb-key', secret: 'reverb-secret' };
const credentials = { REVERB_APP_ID: app.appId, REVERB_APP_KEY: app.key, REVERB_APP_SECRET: app.secret };

/**
 * A separate server, which keeps its port when restarted. `stop` sends SIGTERM and waits, `kill` sends
 * SIGKILL. After either of them `start` starts it again; otherwise it has no effect. `restart` is `stop` and
 * `start`. With `development` no app is configured: the server creates one and serves its page at
 * /playground. With `apps` these are configured instead of `app`, and with `tls` a certificate for localhost.
 */
export async function startServer({ port, env = {}, development = false, apps, tls } = {}) {
  port ??= await freePort();
  const dir = await mkdtemp(path.join(tmpdir(), 'clarim-e2e-'));
  if (apps) await writeFile(path.join(dir, 'clarim.toml'), apps.map(table).join('\n'));
  const url = tls ? `https://localhost:${port}` : `http://127.0.0.1:${port}`;
  let child;
  let output = '';

  const alive = () => child !== undefined && child.exitCode === null && child.signalCode === null;

  async function start() {
    if (alive()) return;
    child = spawn(binary, ['start', '--host', '127.0.0.1', '--port', String(port)], {
      cwd: dir,
      env: {
        ...ownEnvironment(),
        ...(development || apps ? {} : credentials),
        ...(tls && { CLARIM_TLS_CERT: tls.cert, CLARIM_TLS_KEY: tls.key }),
        CLARIM_STATE_DIR: path.join(dir, 'state'),
        ...env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const started = child;
    running.add(started);
    started.once('exit', () => running.delete(started));
    started.ended = new Promise((resolve) => {
      started.once('error', (error) => {
        output += `${binary}: ${error.message}\n`;
        running.delete(started);
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
      return answers(`${url}/up`);
    }, { what: 'GET /up' });
  }

  async function end(signal) {
    if (alive()) child.kill(signal);
    const late = setTimeout(() => child.kill('SIGKILL'), 15_000);
    return child.ended.finally(() => clearTimeout(late));
  }

  await start().catch(async (error) => {
    child.kill('SIGKILL');
    await rm(dir, { recursive: true, force: true });
    throw error;
  });
  return {
    ...app,
    port,
    url,
    start,
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
    async restart() {
      const result = await end('SIGTERM');
      await start();
      return result;
    },
    /** For the end of a test file: stops the server and removes its files. */
    async dispose() {
      await end('SIGKILL');
      await rm(dir, { recursive: true, force: true });
    },
    output: () => output,
  };
}

const table = ({ appId, key, secret }) => `[[apps]]\nid = "${appId}"\nkey = "${key}"\nsecret = "${secret}"\n`;

/** Whether the answer is 200. Every certificate is accepted. */
function answers(url) {
  return new Promise((resolve) => {
    const { get } = url.startsWith('https:') ? https : http;
    get(url, { rejectUnauthorized: false, agent: false }, (answer) => {
      answer.resume();
      resolve(answer.statusCode === 200);
    }).once('error', () => resolve(false));
  });
}

/** The environment of the tests without settings of a server. */
function ownEnvironment() {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(REVERB|PUSHER|CLARIM)_/.test(name)),
  );
}
