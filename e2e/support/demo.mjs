// The demo application for a test, as one process or as separate parts.
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import net from 'node:net';
import { folder, foreground } from './programs.mjs';
import { freePort } from './ports.mjs';
import { PATIENCE } from './events.mjs';
import { built } from './server.mjs';

const binary = path.resolve(process.env.DEMO_BIN ?? built('clarim-demo'));
const OWN = /^(ADDRESS|APP_URL|BROADCAST_CONNECTION|DATABASE_URL|DB_URL|METRICS_SECONDS|QUEUE_CONNECTION|REDIS_URL|RUN|SEED|WEB_ROOT|(VITE_|CLARIM_)?REVERB_.*|CLARIM_.*)$/;

/** Starts one or all parts of the demo, without settings from the environment of the tests and without content. */
export function startPart(dir, env) {
  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !OWN.test(name)));
  return foreground(binary, [], { cwd: dir.path('.'), env: { ...clean, SEED: 'empty', ...env } });
}

/** Waits until its pages are served. */
export async function isServing(url, part) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const served = await fetch(`${url}/api/session`).then((answer) => answer.ok, () => false);
    if (served) return;
    if (Date.now() > end) throw new Error(`${url} is not served:\n${part.output()}`);
    await delay(50);
  }
}

/** The whole demo in one process, with its own database. It can be stopped and started repeatedly. */
export async function startDemo(env = {}) {
  const dir = await folder();
  const port = await freePort();
  const url = `http://localhost:${port}`;
  let part;
  const start = async () => {
    part = startPart(dir, { ADDRESS: `127.0.0.1:${port}`, RUST_LOG: 'warn', ...env });
    await isServing(url, part);
  };
  await start();
  return {
    port,
    url,
    start,
    stop: () => part.stop(),
    output: () => part.output(),
    async dispose() {
      await part.stop();
      await dir.remove();
    },
  };
}

/** A network between a browser and the application, which a test can break. */
export async function startNetwork(port) {
  const open = new Set();
  let mode = 'whole';
  const server = net.createServer((client) => {
    if (mode === 'cut') return client.destroy();
    const upstream = net.connect(port, '127.0.0.1');
    const pair = { client, upstream };
    open.add(pair);
    client.on('data', (bytes) => upstream.write(bytes));
    upstream.on('data', (bytes) => {
      if (mode === 'whole') client.write(bytes);
    });
    const end = () => {
      client.destroy();
      upstream.destroy();
      open.delete(pair);
    };
    for (const socket of [client, upstream]) socket.on('error', end).on('close', end);
    return undefined;
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  // A test that fails before it stops the network must not keep the process.
  server.unref();
  const disconnect = () => {
    for (const { client, upstream } of open) {
      client.destroy();
      upstream.destroy();
    }
  };
  return {
    url: `http://localhost:${server.address().port}`,
    /** Closes all connections and refuses new ones. */
    cut() {
      mode = 'cut';
      disconnect();
    },
    /** Forwards requests of the browser but drops all responses. */
    loseAnswers() {
      mode = 'deaf';
    },
    mend() {
      if (mode === 'deaf') disconnect();
      mode = 'whole';
    },
    stop() {
      disconnect();
      server.close();
    },
  };
}
