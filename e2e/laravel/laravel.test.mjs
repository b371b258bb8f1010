// The composer package clarim/laravel in a Laravel application: composer installs it, Laravel discovers it.
// The tests cannot reach Composer's registry. Laravel is Debian's.
import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { chmod, cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import Sdk from 'pusher';
import Pusher from 'pusher-js';
import { once, until } from '../support/events.mjs';
import { freePort } from '../support/ports.mjs';
import { folder, foreground, run } from '../support/programs.mjs';
import { binary } from '../support/server.mjs';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const limit = { timeout: 300_000 };
const artisan = (app, args, env = {}) => run('php', ['artisan', ...args], { cwd: app.path('.'), env: { ...app.env, ...env } });
const fails = (running) => running.then(() => assert.fail('it succeeds'), ({ code, stdout, stderr }) => ({ code, output: stdout + stderr }));
const running = [];
let app, port, backend;

/** An application in a folder, with the package that composer has installed. */
async function application() {
  const dir = await folder();
  await cp(here('app'), dir.path('.'), { recursive: true });
  const composer = await readFile(dir.path('composer.json'), 'utf8');
  await dir.write('composer.json', composer.replace('PACKAGE', here('../../packages/laravel')));
  for (const name of ['bootstrap/cache', 'storage', 'bin']) await mkdir(dir.path(name), { recursive: true });
  const env = { PATH: process.env.PATH, HOME: dir.path('.'), COMPOSER_ALLOW_SUPERUSER: '1' };
  await run('composer', ['install', '--no-interaction', '--no-progress'], { cwd: dir.path('.'), env });
  return { ...dir, env };
}

/** A release whose program prints its arguments. */
async function release(dir, { spoilt = false } = {}) {
  const cpu = { x64: 'x86_64', arm64: 'aarch64' }[process.arch];
  const name = `clarim-${cpu}-${process.platform === 'darwin' ? 'apple-darwin' : 'unknown-linux-musl'}`;
  await mkdir(dir.path(name), { recursive: true });
  await dir.write(`${name}/clarim`, '#!/bin/sh\necho "ran $*"\n');
  await chmod(dir.path(`${name}/clarim`), 0o755);
  await run('tar', ['-czf', dir.path('archive'), '-C', dir.path('.'), name]);
  const archive = await readFile(dir.path('archive'));
  const digest = createHash('sha256').update(spoilt ? 'other' : archive).digest('hex');
  const files = { SHA256SUMS: `${digest}  ${name}.tar.gz\n`, [`${name}.tar.gz`]: archive };
  const server = http.createServer((request, response) => {
    const file = files[request.url.replace('/download/v1.2.3/', '').replace('/latest/download/', '')];
    response.writeHead(file ? 200 : 404).end(file);
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  running.push({ stop: () => { server.closeAllConnections(); server.close(); } });
  return { LARAVEL_CLARIM_RELEASES: `http://127.0.0.1:${server.address().port}` };
}

/** The events that the application's listeners have got. */
const heard = async () => (await readFile(app.path('heard.jsonl'), 'utf8').catch(() => '')).trim().split('\n').filter(Boolean).map((line) => JSON.parse(line));

/** A value of the application's `.env`. */
const variable = async (name) => new RegExp(`^${name}="?([^"\n]*)`, 'm').exec(await readFile(app.path('.env'), 'utf8'))[1];

/** Waits for an event with at least these values. */
async function hears(expected) {
  const [[name, values]] = Object.entries(expected);
  const equal = (event) => event[name] && Object.entries(values).every(([key, value]) => event[name][key] === value);
  await until(async () => (await heard()).some(equal), { what: JSON.stringify(expected) })
    .catch(async (error) => { throw new Error(`${error.message}: ${JSON.stringify(await heard())}`); });
}

before(async () => { [app, port, backend] = await Promise.all([application(), freePort(), freePort()]); }, limit);
after(async () => {
  for (const program of running) await program.stop();
  await app?.remove();
}, limit);

test('clarim:install downloads a release and runs its program', limit, async () => {
  const dir = await folder();
  const { stdout } = await artisan(app, ['clarim:install', '--release=1.2.3'], await release(dir));
  assert.match(stdout, /^program: .*\/storage\/clarim\/clarim\nran install\n$/);
  await run('rm', [app.path('storage/clarim/clarim')]);
  await dir.remove();
});

test('a release with another checksum is not installed', limit, async () => {
  const dir = await folder();
  const { code, output } = await fails(artisan(app, ['clarim:install', '--force'], await release(dir, { spoilt: true })));
  assert.equal(code, 1);
  assert.match(output, /checksum of .* is wrong; nothing was installed/);
  assert.equal((await fails(run('ls', [app.path('storage/clarim/clarim')]))).code, 2);
  await dir.remove();
});

test('the server starts, and its webhooks become events', limit, async () => {
  const program = { LARAVEL_CLARIM_PROGRAM: binary };
  await artisan(app, ['clarim:install'], program);
  const variables = (await readFile(app.path('.env'), 'utf8')).replace(/^REVERB_PORT=.*$/m, `REVERB_PORT=${port}`);
  await app.write('.env', `${variables}\nCLARIM_APP_WEBHOOKS=http://127.0.0.1:${backend}/clarim/webhooks\n`);
  const [appId, key, secret] = await Promise.all(['ID', 'KEY', 'SECRET'].map((name) => variable(`REVERB_APP_${name}`)));

  const { output } = await fails(artisan(app, ['clarim:health']));
  assert.match(output, /Start it: php artisan clarim:start/);
  const env = { ...app.env, ...program };
  running.push(foreground('php', ['-S', `127.0.0.1:${backend}`, 'index.php'], { cwd: app.path('.'), env }));
  const server = foreground('php', [app.path('artisan'), 'clarim:start', '--host=127.0.0.1', `--port=${port}`], {
    cwd: '/', env: { ...env, CLARIM_STATE_DIR: app.path('state') },
  });
  running.push(server);
  await until(() => artisan(app, ['clarim:health']).then(() => true, () => false), { what: 'clarim:health' })
    .catch((error) => { throw new Error(server.output(), { cause: error }); });

  const sdk = new Sdk({ appId, key, secret, host: '127.0.0.1', port });
  const customHandler = ({ channelName, socketId }, callback) =>
    callback(null, sdk.authorizeChannel(socketId, channelName, { user_id: '7' }));
  const client = new Pusher(key, {
    cluster: '', wsHost: '127.0.0.1', wsPort: port, forceTLS: false, enabledTransports: ['ws'],
    channelAuthorization: { customHandler },
  });
  const room = client.subscribe('presence-room');
  await once(room, 'pusher:subscription_succeeded');
  client.disconnect();
  await hears({ ChannelOccupied: { channel: 'presence-room' } });
  await hears({ MemberAdded: { channel: 'presence-room', userId: '7' } });
  await hears({ MemberRemoved: { channel: 'presence-room', userId: '7' } });
  await hears({ ChannelVacated: { channel: 'presence-room' } });

});

test('every event of a webhook has a class, and a forged one is refused', limit, async () => {
  const [key, secret] = await Promise.all([variable('REVERB_APP_KEY'), variable('REVERB_APP_SECRET')]);
  const post = (body, signature) => fetch(`http://127.0.0.1:${backend}/clarim/webhooks`, {
    method: 'POST', body, headers: { 'X-Pusher-Key': key, 'X-Pusher-Signature': signature },
  });
  const sign = (body) => createHmac('sha256', secret).update(body).digest('hex');
  const body = JSON.stringify({ time_ms: 1, events: [
    { name: 'of_a_newer_server', channel: 'a' },
    { name: 'cache_miss', channel: 'cache-a' },
    { name: 'subscription_count', channel: 'a', subscription_count: 2 },
    { name: 'client_event', channel: 'private-a', event: 'client-typing', data: '{}', socket_id: '1.2' },
  ] });
  const before = (await heard()).length;
  assert.equal((await post(body, sign(`${body} `))).status, 401);
  assert.equal((await post(body, sign(body))).status, 204);
  assert.deepEqual((await heard()).slice(before), [
    { CacheMissed: { channel: 'cache-a' } },
    { SubscriptionCounted: { channel: 'a', count: 2 } },
    { ClientEventSent: { channel: 'private-a', event: 'client-typing', data: '{}', socketId: '1.2', userId: null } },
  ]);
});
