// PostgreSQL and Redis for a test, on ports of their own.
import { execFileSync } from 'node:child_process';
import { chownSync, readdirSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { folder, foreground, run } from './programs.mjs';
import { freePort } from './ports.mjs';

/** PostgreSQL refuses to run as root, and then runs as its own user. */
const isRoot = process.getuid() === 0;
const AS_POSTGRES = ['--reuid=postgres', '--regid=postgres', '--clear-groups'];

/** On Debian the programs of PostgreSQL are not in PATH. */
function program(name) {
  const versions = readdirSync('/usr/lib/postgresql');
  return path.join('/usr/lib/postgresql', versions.at(-1), 'bin', name);
}

async function listens(port, what) {
  for (let left = 200; left > 0; left -= 1) {
    const connected = await new Promise((resolve) => {
      const socket = net.connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false));
      socket.unref();
      socket.on('connect', () => socket.destroy());
    });
    if (connected) return;
    await delay(50);
  }
  throw new Error(`${what.output()}\nnobody listens on ${port}`);
}

/** An empty database. */
export async function startPostgres() {
  const dir = await folder();
  const port = await freePort();
  if (isRoot) {
    const id = (flag) => Number(execFileSync('id', [flag, 'postgres']));
    chownSync(dir.path('.'), id('-u'), id('-g'));
  }
  const prefix = isRoot ? ['setpriv', ...AS_POSTGRES] : ['env'];
  const data = dir.path('data');
  const [first, ...rest] = prefix;
  await run(first, [...rest, program('initdb'), '--no-sync', '--auth=trust', '--username=test', '--encoding=UTF8', '-D', data]);
  const server = foreground(first, [
    ...rest, program('postgres'), '-D', data, '-p', String(port), '-c', 'fsync=off', '-c', 'listen_addresses=127.0.0.1',
    '-c', 'unix_socket_directories=',
  ]);
  const url = `postgres://test@127.0.0.1:${port}/postgres`;
  await listens(port, server);
  // It listens before it accepts clients.
  for (let left = 100; left > 0; left -= 1) {
    if (await run('psql', ['-q', '-c', 'SELECT 1', url]).then(() => true, () => false)) break;
    await delay(50);
  }
  return { url, stop: () => server.stop().then(() => dir.remove()) };
}

/** An empty Redis. */
export async function startRedis() {
  const dir = await folder();
  const port = await freePort();
  const server = foreground('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', dir.path('.')]);
  await listens(port, server);
  return { url: `redis://127.0.0.1:${port}`, stop: () => server.stop().then(() => dir.remove()) };
}
