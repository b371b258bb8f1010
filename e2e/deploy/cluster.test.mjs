// Three nodes behind nginx, configured with the variables of a Laravel application, and unmodified clients.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import Echo from 'laravel-echo';
import Pusher from 'pusher-js';
import Sdk from 'pusher';
import { startAuth } from '../support/auth.mjs';
import { inbox, once, state, until } from '../support/events.mjs';
import { openSession, subscribeSession } from '../support/fallback.mjs';
import { env as counted, metric, metrics } from '../support/metrics.mjs';
import { folder, foreground, nginxWith } from '../support/programs.mjs';
import { freePort } from '../support/ports.mjs';
import { app, startServer } from '../support/server.mjs';

const limit = { timeout: 300_000 };

describe('three nodes behind nginx', () => {
  let dir, redis, nginx, nodes, port, sdk, auth;
  const echoes = new Set();

  before(async () => {
    dir = await folder();
    const redisPort = await freePort();
    redis = foreground('redis-server', [
      '--port', String(redisPort), '--bind', '127.0.0.1', '--save', '', '--requirepass', 'secret',
    ]);
    const env = {
      REVERB_SCALING_ENABLED: 'true', REVERB_SCALING_CHANNEL: 'reverb',
      REDIS_HOST: '127.0.0.1', REDIS_PASSWORD: 'secret', REDIS_PORT: String(redisPort),
      CLARIM_DRAIN_SECONDS: '1', ...counted,
    };
    nodes = await Promise.all([1, 2, 3].map(() => startServer({ env })));
    port = await freePort();
    nginx = await nginxWith(dir, nodes, {
      'listen 443 ssl;': `listen 127.0.0.1:${port};`,
      'ssl_certificate     /etc/ssl/certs/app.com.pem;': '',
      'ssl_certificate_key /etc/ssl/private/app.com.key;': '',
    });
    for (const node of nodes) await ready(node);
    sdk = new Sdk({ ...app, host: '127.0.0.1', port: String(port), useTLS: false });
    await until(() => sdk.get({ path: '/channels' }).then(({ status }) => status === 200, () => false), { what: 'nginx answers' });
    auth = await startAuth(sdk);
  });

  after(async () => {
    for (const echo of echoes) echo.disconnect();
    await auth?.close();
    await nginx?.stop();
    for (const node of nodes ?? []) await node.dispose();
    await redis?.stop();
    await dir.remove();
  });

  /** Waits until the node is on the bus and knows the other two. */
  function ready(node) {
    return until(async () => {
      const text = await metrics(node).catch(() => '');
      return text.includes('\nclarim_bus_up 1\n') && text.includes('\nclarim_bus_nodes 2\n');
    }, { what: 'the node is ready' });
  }

  async function connected(user) {
    const headers = user ? { 'X-User': JSON.stringify(user) } : {};
    const echo = new Echo({
      broadcaster: 'reverb', Pusher, key: app.key, wsHost: '127.0.0.1', wsPort: port, wssPort: port,
      forceTLS: false, enabledTransports: ['ws', 'wss'], authEndpoint: auth.endpoint, auth: { headers },
      withoutInterceptors: true,
    });
    echoes.add(echo);
    await state(echo.connector.pusher, 'connected');
    return echo;
  }

  const people = (count) => Promise.all(Array.from({ length: count }, (_, n) => connected({ id: n, info: { id: n } })));

  function leaveAll() {
    for (const echo of echoes) echo.disconnect();
    echoes.clear();
  }

  test('clients on all nodes share one room', limit, async () => {
    const all = await people(6);
    const counts = await Promise.all(nodes.map((node) => metric(node, `clarim_connections{app="${app.appId}"}`)));
    assert.deepEqual(counts, [2, 2, 2], 'least_conn spreads them');
    const rooms = all.map((echo) => {
      const room = { here: new Set(), whispers: inbox(), events: inbox(), joined: inbox(), left: inbox() };
      room.channel = echo.join('room')
        .here((members) => { room.here = new Set(members.map(({ id }) => id)); })
        .joining(({ id }) => { room.here.add(id); room.joined(id); })
        .leaving(({ id }) => { room.here.delete(id); room.left(id); })
        .listenForWhisper('typing', room.whispers)
        .listen('.message', room.events);
      return room;
    });
    for (const room of rooms) await until(() => room.here.size === 6, { what: 'six members' });
    rooms[0].channel.whisper('typing', { name: 'Ana' });
    for (const room of rooms.slice(1)) assert.deepEqual(await room.whispers.take(), { name: 'Ana' });
    await sdk.trigger('presence-room', 'message', { text: 'olá' }, { socket_id: all[3].socketId() });
    for (const room of rooms.filter((_, n) => n !== 3)) assert.deepEqual(await room.events.take(), { text: 'olá' });
    assert.deepEqual(rooms[3].events.items, [], 'toOthers');
    const { users } = await (await sdk.get({ path: '/channels/presence-room/users' })).json();
    assert.equal(users.length, 6);
    all[5].disconnect();
    for (const room of rooms.slice(0, 5)) assert.equal(await room.left.take(), 5);
    leaveAll();
  });

  test('fallback sessions stay on their node and receive each line unbuffered', limit, async () => {
    const sessions = Array.from({ length: 12 }, (_, n) => `http://127.0.0.1:${port}/pusher/app/${app.key}/${n}/session${n}`);
    const lines = await Promise.all(sessions.map(openSession));
    for (const session of sessions) await subscribeSession(session, 'news');
    for (const line of lines) assert.match(await line.take(), /subscription_succeeded/);
    await sdk.trigger('news', 'e', { olá: 1 });
    for (const line of lines) assert.match(await line.take(), /olá/);
  });

  test('without Redis each node keeps serving its own clients and is not ready', limit, async () => {
    await redis.stop();
    for (const node of nodes) {
      await until(async () => (await fetch(`${node.url}/ready`)).status === 503, { what: 'not ready' });
      assert.equal((await fetch(`${node.url}/up`)).status, 200);
    }
    const echo = await connected();
    const heard = inbox();
    const channel = echo.channel('news').listen('.e', heard);
    await once(echo.connector.pusher.channel('news'), 'pusher:subscription_succeeded');
    assert.ok(channel);
    // To all nodes, because the client's node is unknown.
    const answers = await Promise.all(nodes.map((node) => new Sdk({
      ...app, host: '127.0.0.1', port: String(node.port), useTLS: false,
    }).trigger('news', 'e', {})));
    for (const answer of answers) {
      assert.equal(answer.status, 200);
      assert.match(answer.headers.get('clarim-warning'), /local only/);
    }
    await heard.take();
  });
});
