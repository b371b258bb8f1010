// Follows the quick starts: writes the files of the page, and runs its commands with other ports.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startExample } from '../support/application.mjs';
import { until } from '../support/events.mjs';
import { freePort } from '../support/ports.mjs';
import { app, binary, built } from '../support/server.mjs';
import { codeBlocks, text } from './page.mjs';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const limit = { timeout: 300_000 };
const running = new Set();
let folder, environment, server, application;

/** Runs the page's commands in the folder. Those in the background end with the test. */
function shell(commands) {
  const child = spawn('sh', ['-ec', `${commands}\nwait`], { cwd: folder, env: environment, detached: true });
  running.add(child);
  const result = { output: '' };
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => { result.output += chunk; });
  result.ended = new Promise((resolve) => { child.once('close', resolve); });
  return result;
}

/** The page's blocks of one section, with this test's ports. */
function section(page, title) {
  const blocks = codeBlocks(page).filter((block) => block.section === title);
  const ours = (code) => code.replaceAll('8000', String(application));
  return {
    commands: blocks.filter(({ language }) => language === 'sh').map(({ code }) => ours(code)),
    write: () => Promise.all(blocks.filter(({ name }) => name).map(({ name, code }) => writeFile(path.join(folder, name), ours(code)))),
    blocks,
  };
}

const occupied = (channel) => until(async () => {
  const stats = shell(`clarim stats --json`);
  await stats.ended;
  return stats.output.includes(`"${channel}"`);
}, { what: `a subscriber of ${channel}` });

const prints = (running, line) => until(() => running.output.split('\n').includes(line), { what: `the line ${line}` });

before(async () => {
  [server, application] = await Promise.all([freePort(), freePort()]);
  folder = await mkdtemp(path.join(tmpdir(), 'clarim-quickstart-'));
  await mkdir(path.join(folder, 'bin'));
  await symlink(binary, path.join(folder, 'bin/clarim'));
  // `cargo xtask setup` installs them.
  await symlink(here('../node_modules'), path.join(folder, 'node_modules'));
  environment = {
    PATH: `${path.join(folder, 'bin')}:${here('../../target/python/e2e/bin')}:${process.env.PATH}`,
    HOME: folder, XDG_RUNTIME_DIR: folder,
    REVERB_SERVER_HOST: '127.0.0.1', REVERB_SERVER_PORT: String(server),
  };
  const [install, start] = section('quickstart.md', 'Server').commands[0].trim().split('\n');
  assert.equal(await shell(install).ended, 0);
  const env = path.join(folder, '.env');
  await writeFile(env, (await readFile(env, 'utf8')).replace('REVERB_PORT=8080', `REVERB_PORT=${server}`));
  shell(start);
  await until(() => fetch(`http://127.0.0.1:${server}/up`).then(({ ok }) => ok, () => false), { what: 'the server' });
});

after(async () => {
  for (const child of running) try { process.kill(-child.pid, 'SIGKILL'); } catch { /* It has ended. */ }
  await rm(folder, { recursive: true, force: true });
});

test('Node', limit, async () => {
  const { commands: [, run], write } = section('quickstart.md', 'Node');
  await write();
  const [listen, publish] = run.trim().split('\n');
  const listener = shell(listen);
  await occupied('news');
  assert.equal(await shell(publish).ended, 0);
  await prints(listener, 'It works');
});

test('Django', limit, async () => {
  const { commands: [, start, run], write } = section('quickstart.md', 'Django');
  await write();
  const django = shell(start);
  await until(() => fetch(`http://localhost:${application}/`).then(() => true, () => django.output.includes('Error') && assert.fail(django.output)), { what: 'Django' });
  const [listen, publish] = run.trim().split('\n');
  const page = shell(listen);
  await occupied('private-orders.7');
  assert.equal(await shell(publish).ended, 0);
  await prints(page, 'order 7 shipped');
});

for (const language of ['Go', 'Ruby']) {
  test(language, limit, async () => {
    const { commands: [run], write } = section('quickstart.md', language);
    await write();
    const [variables, listen, publish] = run.trim().split('\n');
    const listener = shell(`${variables}\n${listen}`);
    await until(() => listener.output.includes('news'), { what: 'clarim tail joins' });
    const publisher = shell(`${variables}\n${publish}`);
    assert.equal(await publisher.ended, 0, publisher.output);
    assert.match(publisher.output, /\bOK\b/);
    await until(() => listener.output.includes('It works'), { what: 'the event' });
  });
}

test("Laravel's variables and class name reach Echo", limit, async (t) => {
  const variables = await readFile(path.join(folder, '.env'), 'utf8');
  const { default: Echo } = await import('laravel-echo');
  const { default: Pusher } = await import('pusher-js');
  const { default: Sdk } = await import('pusher');
  const of = (name) => variables.match(new RegExp(`^${name}="?([^"\n]*)`, 'm'))[1];
  const [host, port, key] = [of('REVERB_HOST'), of('REVERB_PORT'), of('REVERB_APP_KEY')];
  const laravel = new Sdk({ appId: of('REVERB_APP_ID'), key, secret: of('REVERB_APP_SECRET'), host, port, useTLS: false });
  // Laravel's route broadcasting/auth.
  const authorizer = (channel) => ({
    authorize: (socketId, callback) => callback(null, laravel.authorizeChannel(socketId, channel.name)),
  });
  const echo = new Echo({ broadcaster: 'reverb', Pusher, key, wsHost: host, wsPort: port, forceTLS: false, enabledTransports: ['ws'], authorizer, withoutInterceptors: true });
  t.after(() => echo.disconnect());
  const printed = [];
  const listen = section('quickstart.md', 'Laravel').blocks.find(({ language }) => language === 'js').code;
  new Function('Echo', 'console', listen)(echo, { log: (value) => printed.push(value) });
  await until(() => echo.connector.pusher.channel('private-orders.7').subscribed, { what: 'the subscription' });
  await laravel.trigger('private-orders.7', 'App\\Events\\OrderShipped', { order: 7 });
  await until(() => printed.includes(7), { what: 'the event' });
});

test('Rust', limit, async (t) => {
  const source = await readFile(here('../../crates/clarim/examples/hello.rs'), 'utf8');
  const blocks = section('quickstart.md', 'Rust').blocks.filter(({ language }) => language === 'rust');
  assert.equal(blocks.length, 2);
  for (const { code } of blocks) assert.ok(source.includes(code), code);
  const example = await startExample('hello', { ...app, port: server });
  t.after(() => example.stop());
  assert.equal((await fetch(`${example.url}/hello`, { method: 'POST' })).status, 200);
});

test('the Portuguese page has the same code', () => {
  const code = (page) => codeBlocks(page).map((block) => block.code);
  assert.deepEqual(code('quickstart.pt-BR.md'), code('quickstart.md'));
  assert.ok(text('quickstart.pt-BR.md').includes('.pt-BR.md'));
});
