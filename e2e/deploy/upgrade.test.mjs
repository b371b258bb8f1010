// `clarim restart` under load: the program is replaced, and unmodified clients notice nothing.
import assert from 'node:assert/strict';
import { chmod, copyFile, readFile, rename, writeFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import Sdk from 'pusher';
import { endpoint } from '../support/endpoint.mjs';
import { once, until } from '../support/events.mjs';
import { openSession } from '../support/fallback.mjs';
import { sdkFor, world } from '../support/clients.mjs';
import { env as counted, metric } from '../support/metrics.mjs';
import { certificate, deployed, folder, foreground, nginxWith, run } from '../support/programs.mjs';
import { freePort } from '../support/ports.mjs';
import { app, binary } from '../support/server.mjs';

const limit = { timeout: 300_000 };
const CLIENTS = 20;
const UPGRADES = 10;

/** Runs `clarim restart` for the server on this port, from another directory and without its settings. */
function restart(port) {
  const { PATH, XDG_RUNTIME_DIR } = process.env;
  const env = { PATH, ...(XDG_RUNTIME_DIR && { XDG_RUNTIME_DIR }) };
  return run(binary, ['restart', '--port', String(port)], { cwd: '/', env });
}

/** A client that notes everything that happens to it. */
async function listener(w, id, options = {}) {
  const pusher = w.client({ user: { id, info: {} }, ...options });
  const client = { pusher, id, numbers: [], changes: [], presence: [] };
  const channel = pusher.subscribe('presence-work');
  channel.bind('tick', ({ n }) => client.numbers.push(n));
  await once(channel, 'pusher:subscription_succeeded');
  client.socketId = pusher.connection.socket_id;
  pusher.connection.bind('state_change', (change) => client.changes.push(change));
  return client;
}

/** Notes presence from now on. */
function watchPresence(client) {
  for (const event of ['pusher:member_added', 'pusher:member_removed', 'pusher:subscription_succeeded']) {
    client.pusher.channel('presence-work').bind(event, () => client.presence.push(event));
  }
}

/** Publishes numbered events one after the other, until `stop`. Nothing is tried again. */
function publisher(sdk) {
  const progress = { n: 0, failed: [], longest: 0 };
  let isOver = false;
  const ended = (async () => {
    while (!isOver) {
      const n = progress.n + 1;
      const begin = Date.now();
      await sdk.trigger('presence-work', 'tick', { n }).catch((error) => progress.failed.push(`${n}: ${error}`));
      progress.longest = Math.max(progress.longest, Date.now() - begin);
      progress.n = n;
    }
  })();
  return { progress, stop: () => { isOver = true; return ended; } };
}

/** Asserts that clients have got each event once and in order, and have noticed nothing else. */
async function assertUndisturbed(clients, { n: last, failed }) {
  assert.deepEqual(failed, []);
  await until(() => clients.every(({ numbers }) => numbers.at(-1) === last), { what: 'all have the last event' });
  for (const { pusher, numbers, changes, presence, socketId } of clients) {
    assert.deepEqual(changes, []);
    assert.deepEqual(presence, []);
    assert.equal(pusher.connection.socket_id, socketId);
    assert.deepEqual(numbers, Array.from({ length: last }, (_, n) => n + 1));
  }
}

describe('clarim restart', () => {
  let w, hooks, clients, load;

  before(async () => {
    hooks = await endpoint();
    w = await world({ env: { REVERB_APP_WEBHOOKS: hooks.url, CLARIM_WORKERS: '2', ...counted } });
  });

  after(async () => {
    await load?.stop();
    await w.close();
    hooks.close();
  });

  test('ten times under load, and nobody notices', limit, async (t) => {
    clients = [];
    for (let id = 0; id < CLIENTS; id += 1) clients.push(await listener(w, id));
    await until(() => clients.every(({ pusher }) => pusher.channel('presence-work').members.count === CLIENTS),
      { what: 'all see all' });
    const joins = () => hooks.events(w.sdk).filter(({ name }) => name === 'member_added').length;
    await until(() => joins() === CLIENTS, { what: 'webhooks' });
    clients.forEach(watchPresence);
    load = publisher(w.sdk);
    const pauses = [];
    for (let round = 0; round < UPGRADES; round += 1) {
      const before = load.progress.n;
      await until(() => load.progress.n > before + 20, { what: 'events' });
      const { stdout } = await restart(w.server.port);
      pauses.push(Number(stdout.match(/pause: (\d+) ms/)[1]));
    }
    await load.stop();
    await assertUndisturbed(clients, load.progress);
    t.diagnostic(`pauses in ms: ${pauses.join(' ')}; longest publish: ${load.progress.longest} ms`);
    assert.equal(joins(), CLIENTS);
    assert.deepEqual(hooks.events(w.sdk).filter(({ name }) => name === 'member_removed'), []);
    assert.equal(await metric(w.server, 'clarim_connections_opened_total'), CLIENTS);
  });

  test('a client that leaves later is reported once', limit, async () => {
    clients[0].pusher.disconnect();
    const left = () => hooks.events(w.sdk).filter(({ name }) => name === 'member_removed');
    await until(() => left().length > 0, { what: 'the webhook' });
    assert.deepEqual(left().map(({ user_id }) => user_id), ['0']);
  });

  test('a leave that waits during the restart is reported once', limit, async () => {
    clients[1].pusher.disconnect();
    await once(clients[2].pusher.channel('presence-work'), 'pusher:member_removed');
    await restart(w.server.port);
    const left = () => hooks.events(w.sdk).filter(({ name, user_id }) => name === 'member_removed' && user_id === '1');
    await until(() => left().length > 0, { what: 'the webhook' });
    assert.equal(left().length, 1);
  });

  test('webhooks that wait for their endpoint are handed over', limit, async () => {
    hooks.status = 503;
    const client = await w.connected();
    client.subscribe('lonely');
    await until(() => hooks.requests.items.some(({ status }) => status === 503), { what: 'an attempt' });
    await restart(w.server.port);
    hooks.status = 200;
    const occupied = () => hooks.events(w.sdk).filter(({ name, channel }) => name === 'channel_occupied' && channel === 'lonely');
    await until(() => occupied().length > 0, { what: 'the webhook' });
    client.disconnect();
  });

  test('the idempotency key of an event is still known', limit, async () => {
    const client = await w.connected();
    const channel = client.subscribe('once');
    await once(channel, 'pusher:subscription_succeeded');
    const heard = [];
    channel.bind('e', (data) => heard.push(data));
    const publish = () => w.sdk.post({ path: '/events', body: { name: 'e', channel: 'once', data: '1', idempotency_key: 'k' } });
    await publish();
    await restart(w.server.port);
    await publish();
    await w.sdk.trigger('once', 'e', 2);
    await until(() => heard.length > 1, { what: 'the next event' });
    assert.deepEqual(heard, [1, 2]);
    client.disconnect();
  });

  test('a session of the HTTP fallback ends with a code that makes its page reconnect', limit, async () => {
    const lines = await openSession(`${w.server.url}/pusher/app/${app.key}/000/handover`);
    await restart(w.server.port);
    await until(() => lines.items.some((line) => line.includes('4200')), { what: 'the close frame' });
    const page = await openSession(`${w.server.url}/pusher/app/${app.key}/000/again`);
    assert.ok(page);
  });
});

describe('laravel-echo', () => {
  let w;
  before(async () => { w = await world({ env: { CLARIM_WORKERS: '2' } }); });
  after(() => w.close());

  /** A page of an application that uses all kinds of channels, and notes everything. */
  async function page(id) {
    const echo = w.echo({ user: { id, info: { id, name: `User ${id}` } } });
    const heard = { ticks: [], whispers: [], notifications: [], people: [], changes: [] };
    const subscribed = (channel) => new Promise((resolve) => { channel.subscribed(resolve); });
    const note = (kind, channel) => ({ n }) => heard[kind].push(`${channel} ${n}`);
    const news = echo.channel('news').listen('.tick', note('ticks', 'news'));
    const orders = echo.private('orders').listen('.tick', note('ticks', 'orders')).listenForWhisper('typing', note('whispers', 'orders'));
    const user = echo.private(`App.Models.User.${id}`).notification(note('notifications', 'user'));
    const room = echo.join('room').here((users) => heard.people.push(...users.map((one) => one.id).sort()))
      .joining((one) => heard.people.push(one.id)).leaving((one) => heard.people.push(-one.id)).listen('.tick', note('ticks', 'room'));
    await Promise.all([news, orders, user, room].map(subscribed));
    echo.connector.onConnectionChange((status) => heard.changes.push(status));
    return { echo, heard, orders, socketId: echo.socketId() };
  }

  test('keeps all its channels over restarts', limit, async () => {
    const [ana, ben] = [await page(1), await page(2)];
    await until(() => ana.heard.people.length === 2, { what: 'both are there' });
    const channels = ['news', 'private-orders', 'presence-room'];
    const expected = { ticks: [], whispers: [], notifications: [], people: [1, 2], changes: [] };
    const ofBen = [];
    for (let n = 1; n <= 4; n += 1) {
      for (const channel of channels) {
        await w.sdk.trigger(channel, 'tick', { n });
        expected.ticks.push(`${channel.split('-').at(-1)} ${n}`);
      }
      // As broadcast(…)->toOthers() does, with the header that Echo gives to Axios.
      await w.sdk.trigger('news', 'tick', { n: -n }, { socket_id: ana.echo.socketId() });
      ofBen.push(...expected.ticks.slice(-3), `news -${n}`);
      await w.sdk.trigger('private-App.Models.User.1', 'Illuminate\\Notifications\\Events\\BroadcastNotificationCreated', { n });
      expected.notifications.push(`user ${n}`);
      ben.orders.whisper('typing', { n });
      expected.whispers.push(`orders ${n}`);
      await until(() => ana.heard.whispers.length === n, { what: 'the whisper' });
      await restart(w.server.port);
    }
    await until(() => ben.heard.ticks.length === ofBen.length, { what: 'all events' });
    assert.deepEqual(ana.heard, expected);
    assert.deepEqual(ben.heard, { ticks: ofBen, whispers: [], notifications: [], people: [1, 2], changes: [] });
    for (const { echo, socketId } of [ana, ben]) {
      assert.equal(echo.connectionStatus(), 'connected');
      assert.equal(echo.socketId(), socketId);
    }
    // New channels, and leaving, work on the old connection.
    const later = new Promise((resolve) => { ana.echo.private('later').listen('.tick', resolve).subscribed(() => w.sdk.trigger('private-later', 'tick', { n: 5 })); });
    assert.deepEqual(await later, { n: 5 });
    ben.echo.leave('room');
    await until(() => ana.heard.people.at(-1) === -2, { what: 'Ben has left' });
    assert.deepEqual(ana.heard.people, [1, 2, -2]);
  });
});

describe('a supervised server behind nginx', () => {
  let dir, supervisor, control, w, nginx, port, program;

  const environment = () => ({
    PATH: process.env.PATH, REVERB_APP_ID: app.appId, REVERB_APP_KEY: app.key, REVERB_APP_SECRET: app.secret,
    REVERB_SERVER_HOST: '127.0.0.1', REVERB_SERVER_PORT: String(w.server.port),
  });

  before(async () => {
    // Only its port and its clients, since supervisor starts the server.
    w = await world();
    await w.server.stop();
    dir = await folder();
    program = dir.path('clarim');
    await copyFile(binary, program);
    const conf = await deployed('supervisor/clarim.conf', {
      '/usr/local/bin/clarim': program,
      'directory=/var/www/app': `directory=${dir.path('')}`,
      'user=www-data\n': '',
      '/var/www/app/storage/logs/clarim.log': dir.path('clarim.log'),
    });
    await dir.write('supervisord.conf', `[supervisord]
nodaemon=true
logfile=${dir.path('supervisord.log')}
pidfile=${dir.path('pid')}
childlogdir=${dir.path('')}
[unix_http_server]
file=${dir.path('sock')}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://${dir.path('sock')}
${conf}`);
    const config = ['-c', dir.path('supervisord.conf')];
    supervisor = foreground('supervisord', config, { env: environment() });
    control = async (...args) => (await run('supervisorctl', [...config, ...args])).stdout;
    await until(() => fetch(`${w.server.url}/up`).then(({ ok }) => ok, () => false), { what: 'the server is up' });
    port = await freePort();
    const { cert, key } = await certificate(dir);
    nginx = await nginxWith(dir, [w.server], {
      'listen 443 ssl;': `listen 127.0.0.1:${port} ssl;`,
      '/etc/ssl/certs/app.com.pem': cert,
      '/etc/ssl/private/app.com.key': key,
    });
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
    const up = () => fetch(`https://localhost:${port}/app/x`).then(({ status }) => status === 426, () => false);
    await until(up, { what: 'nginx answers' });
  });

  after(async () => {
    delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    await nginx?.stop();
    await supervisor?.stop();
    await w.close();
    await dir.remove();
  });

  const pid = async () => Number(await control('pid', 'clarim'));
  const secure = () => ({ wsHost: 'localhost', wssPort: port, forceTLS: true, enabledTransports: ['ws', 'wss'] });

  /** Puts a program in the place of the server's, as a deployment does. */
  async function deploy(from) {
    const next = dir.path('next');
    await from(next);
    await chmod(next, 0o755);
    await rename(next, program);
  }

  test('keeps its process, and clients and backends behind nginx notice nothing', limit, async () => {
    const clients = [];
    for (let id = 0; id < 5; id += 1) clients.push(await listener(w, id, secure()));
    await until(() => clients.every(({ pusher }) => pusher.channel('presence-work').members.count === 5), { what: 'all see all' });
    clients.forEach(watchPresence);
    const before = await pid();
    const load = publisher(new Sdk({ ...app, host: 'localhost', port: String(port), useTLS: true }));
    for (let round = 0; round < 3; round += 1) {
      const begun = load.progress.n;
      await until(() => load.progress.n > begun + 10, { what: 'events' });
      await deploy((next) => copyFile(binary, next));
      await restart(w.server.port);
    }
    // Everything that is wrong with the new program is noticed before anything is given up.
    await deploy((next) => writeFile(next, '#!/bin/sh\necho out of order >&2\nexit 1\n'));
    await assert.rejects(restart(w.server.port), ({ stderr }) => /does not start: out of order/.test(stderr));
    await load.stop();
    await assertUndisturbed(clients, load.progress);
    assert.equal(await pid(), before);
    await deploy((next) => copyFile(binary, next));
    clients.forEach(({ pusher }) => pusher.disconnect());
  });

  test('a new program that is killed at once is a crash: clients come back', limit, async () => {
    const client = await listener(w, 1);
    const back = once(client.pusher.channel('presence-work'), 'pusher:subscription_succeeded');
    const killed = await pid();
    const restarting = restart(w.server.port).catch((error) => error);
    // The check of the new program comes first.
    const log = () => readFile(dir.path('clarim.log'), 'utf8');
    await until(async () => (await log()).split('restarting with the program on disk').length > 5, { what: 'the restart', every: 1 });
    process.kill(killed, 'SIGKILL');
    await restarting;
    await back;
    assert.notEqual(await pid(), killed);
    client.pusher.disconnect();
  });
});
