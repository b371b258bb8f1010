// The files of a release, installed where there is neither Rust nor Clarim's sources.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import Pusher from 'pusher-js';
import { sdkFor } from '../support/clients.mjs';
import { once, until } from '../support/events.mjs';
import { foreground, run } from '../support/programs.mjs';

const top = fileURLToPath(new URL('../..', import.meta.url));
/** A file of the release. */
export const file = (name = '') => path.join(top, 'dist', name);
export const version = /^version = "(.*)"/m.exec(readFileSync(path.join(top, 'Cargo.toml'), 'utf8'))[1];
export const cpu = { x64: 'x86_64', arm64: 'aarch64' }[process.arch];
export const target = `${cpu}-unknown-linux-musl`;
export const cleanRoot = path.join(top, 'target/clean-root.tar');

/** Only root may install for other users, and change the root directory. */
export const needsRoot = process.getuid() !== 0 && 'needs root';
export const limit = { timeout: 300_000 };

/** A system that is nothing but busybox, in a folder. */
export async function busyboxRoot(dir) {
  for (const name of ['bin', 'tmp', 'root', 'etc', 'proc', 'dev']) await mkdir(dir.path(name), { recursive: true });
  await cp((await run('sh', ['-c', 'command -v busybox'])).stdout.trim(), dir.path('bin/busybox'), { dereference: true });
  const { stdout: applets } = await run(dir.path('bin/busybox'), ['--list']);
  await run('sh', ['-c', `cd "$1" && for name in $2; do [ "$name" = busybox ] || ln -s busybox "$name"; done`, 'sh',
    dir.path('bin'), applets.replaceAll('\n', ' ')]);
  await writeFile(dir.path('etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
}

/** Arguments of bwrap that run a command in this root, on this machine's network. */
export const inside = (root, command, binds = []) => [
  '--bind', root, '/', '--proc', '/proc', '--dev', '/dev', ...binds,
  '--unshare-pid', '--die-with-parent', '--clearenv',
  '--setenv', 'PATH', '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', '--setenv', 'HOME', '/root',
  '--chdir', '/root', ...command,
];
export const runInside = (root, command, binds) => run('bwrap', inside(root, command, binds));
export const startInside = (root, command, binds) => foreground('bwrap', inside(root, command, binds));

/** Waits until the server answers, and a client of it has got an event. Returns the seconds since `since`. */
export async function firstEvent(server, { port, appId, key, secret, since = Date.now() }) {
  const answers = () => fetch(`http://127.0.0.1:${port}/up`).then(({ ok }) => ok, () => false);
  await until(answers, { what: 'the server answers' })
    .catch((error) => { throw new Error(`${error.message}\n${server.output()}`); });
  const client = new Pusher(key, { cluster: '', wsHost: '127.0.0.1', wsPort: port, forceTLS: false, enabledTransports: ['ws'] });
  try {
    const channel = client.subscribe('news');
    await once(channel, 'pusher:subscription_succeeded');
    const heard = once(channel, 'greeting');
    await sdkFor({ appId, key, secret, port }).trigger('news', 'greeting', { text: 'hello' });
    assert.deepEqual((await heard)[0], { text: 'hello' });
  } finally {
    client.disconnect();
  }
  return (Date.now() - since) / 1000;
}

/** The app that the server has created in development mode. */
export async function developmentApp(folder) {
  let text;
  await until(async () => { text = await readFile(path.join(folder, '.clarim/app.toml'), 'utf8').catch(() => ''); return text; },
    { what: 'the server creates an app' });
  const field = (name) => new RegExp(`^${name} = "(.*)"`, 'm').exec(text)[1];
  return { appId: field('id'), key: field('key'), secret: field('secret') };
}

/** Serves files by functions of their paths. Those that return nothing are not found. */
export async function serve(find) {
  const server = http.createServer(async (request, response) => {
    const body = await find(decodeURIComponent(request.url), `http://127.0.0.1:${server.address().port}`);
    response.writeHead(body === undefined ? 404 : 200).end(body);
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return { url: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}
