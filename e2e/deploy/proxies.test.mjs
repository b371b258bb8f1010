// HAProxy and Caddy, from Debian, with the files of deploy/: TLS, idle connections, stopping nodes, and pages
// without WebSockets.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import Sdk from 'pusher';
import { WebSocket } from 'ws';
import { once, until } from '../support/events.mjs';
import { openSession, subscribeSession } from '../support/fallback.mjs';
import { world } from '../support/clients.mjs';
import { caddyWith, certificate, folder, foreground, haproxyWith } from '../support/programs.mjs';
import { freePort } from '../support/ports.mjs';
import { app, startServer } from '../support/server.mjs';

const limit = { timeout: 300_000 };

/** Each proxy with two nodes, which share a Redis. */
const PROXIES = {
  HAProxy: (dir, port, nodes, tls) => haproxyWith(dir, port, nodes, tls, {
    // Shortened for the test. It only has to be longer than the client's timeout.
    'timeout tunnel 75s': 'timeout tunnel 3s',
  }),
  Caddy(dir, port, nodes, { cert, key }) {
    const changes = { '{$CLARIM_SITE:app.com} {': `{$CLARIM_SITE} {\n\ttls ${cert} ${key}` };
    return caddyWith(dir, `https://localhost:${port}`, nodes.map((node) => `127.0.0.1:${node.port}`), changes);
  },
};

for (const [name, start] of Object.entries(PROXIES)) {
  describe(name, () => {
    let w, second, dir, redis, proxy, port;

    before(async () => {
      dir = await folder();
      const redisPort = await freePort();
      redis = foreground('redis-server', ['--port', String(redisPort), '--bind', '127.0.0.1', '--save', '']);
      const env = {
        REVERB_SCALING_ENABLED: 'true', REDIS_HOST: '127.0.0.1', REDIS_PORT: String(redisPort),
        // Idle clients send a ping after a second.
        REVERB_APP_ACTIVITY_TIMEOUT: '1', CLARIM_DRAIN_SECONDS: '1',
      };
      w = await world({ env });
      second = await startServer({ env });
      for (const { url } of [w.server, second]) {
        await until(() => fetch(`${url}/ready`).then(({ ok }) => ok, () => false), { what: 'the nodes are on the bus' });
      }
      port = await freePort();
      proxy = await start(dir, port, [w.server, second], await certificate(dir));
      process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
      const up = () => fetch(`https://localhost:${port}/app/x`).then(({ status }) => status === 426, () => false);
      await until(up, { what: `${name} answers` })
        .catch((error) => { throw new Error(`${error.message}\n${proxy.output()}`); });
    }, limit);

    after(async () => {
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
      await proxy?.stop();
      await second?.dispose();
      await w?.close();
      await redis?.stop();
      await dir?.remove();
    });

    const connect = () => w.connected({ wsHost: 'localhost', wssPort: port, forceTLS: true, enabledTransports: ['ws', 'wss'] });
    const backend = () => new Sdk({ ...app, host: 'localhost', port: String(port), useTLS: true });

    test('forwards clients and backends, with TLS', limit, async () => {
      const clients = await Promise.all([1, 2, 3, 4].map(connect));
      const channels = clients.map((client) => client.subscribe('private-orders'));
      await Promise.all(channels.map((channel) => once(channel, 'pusher:subscription_succeeded')));
      const heard = channels.map((channel) => once(channel, 'shipped'));
      await backend().trigger('private-orders', 'shipped', { order: 7 });
      for (const [data] of await Promise.all(heard)) assert.deepEqual(data, { order: 7 });
      for (const client of clients) client.disconnect();
    });

    test('keeps an idle connection open', limit, async () => {
      const client = await connect();
      const id = client.connection.socket_id;
      // Twice the idle timeout of the proxy.
      await new Promise((resolve) => { setTimeout(resolve, 6_500); });
      assert.equal(client.connection.socket_id, id);
      client.disconnect();
    });

    test('fallback sessions stay on their node and receive each line unbuffered', limit, async () => {
      const sessions = Array.from({ length: 6 }, (_, n) => `https://localhost:${port}/pusher/app/${app.key}/${n}/session${n}`);
      for (const session of sessions) {
        const line = await openSession(session);
        await subscribeSession(session, 'news');
        assert.match(await line.take(), /subscription_succeeded/);
      }
    });

    test('new clients of a draining node reach the other one', limit, async () => {
      const first = () => new Promise((resolve, reject) => {
        const socket = new WebSocket(`wss://localhost:${port}/app/${app.key}?protocol=7`);
        socket.once('message', (data) => { socket.close(); resolve(JSON.parse(data)); });
        socket.once('error', reject);
      });
      // While it has clients, the node drains for a second.
      const clients = await Promise.all(Array.from({ length: 8 }, connect));
      let isStopped = false;
      const stopped = second.stop().finally(() => { isStopped = true; });
      while (!isStopped) {
        const message = await first();
        assert.equal(message.event, 'pusher:connection_established', JSON.stringify(message));
      }
      await stopped;
      for (const client of clients) client.disconnect();
      await second.start();
      await until(() => fetch(`${second.url}/ready`).then(({ ok }) => ok, () => false), { what: 'the node is back' });
    });

    test('clients of a stopping node reconnect to the other one', limit, async () => {
      const clients = await Promise.all([1, 2].map(connect));
      const channels = clients.map((client) => client.subscribe('news'));
      await Promise.all(channels.map((channel) => once(channel, 'pusher:subscription_succeeded')));
      await second.stop();
      await until(() => clients.every(({ connection }) => connection.state === 'connected'));
      await until(() => channels.every(({ subscribed }) => subscribed));
      const heard = channels.map((channel) => once(channel, 'e'));
      await until(() => backend().trigger('news', 'e', {}).then(({ status }) => status === 200, () => false), { what: 'it is published' });
      await Promise.all(heard);
      await second.start();
      for (const client of clients) client.disconnect();
    });
  });
}
