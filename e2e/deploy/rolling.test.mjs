// A rolling restart of three nodes behind each proxy of deploy/, while numbered events go out: what every
// client receives, the presence lists and the webhooks are compared with the truth.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import Pusher from 'pusher-js';
import Sdk from 'pusher';
import { startAuth } from '../support/auth.mjs';
import { endpoint } from '../support/endpoint.mjs';
import { state, until } from '../support/events.mjs';
import { env as counted, metrics } from '../support/metrics.mjs';
import { certificate, folder, foreground, haproxyWith, nginxWith } from '../support/programs.mjs';
import { freePort } from '../support/ports.mjs';
import { app, startServer } from '../support/server.mjs';

const limit = { timeout: 300_000 };
const CLIENTS = 30;
/** Pause between two events, in ms. */
const PAUSE = 5;

/** Each proxy with its shipped file, and these nodes in it. */
const PROXIES = {
  nginx: (dir, port, nodes, { cert, key }) => nginxWith(dir, nodes, {
    'listen 443 ssl;': `listen 127.0.0.1:${port} ssl;`,
    '/etc/ssl/certs/app.com.pem': cert,
    '/etc/ssl/private/app.com.key': key,
  }),
  HAProxy: haproxyWith,
};

/** A client that notes all it hears, and when it was away. */
function listener(port, auth, id, now) {
  const pusher = new Pusher(app.key, {
    cluster: '', wsHost: 'localhost', wssPort: port, forceTLS: true, enabledTransports: ['ws', 'wss'],
    channelAuthorization: { transport: 'ajax', endpoint: auth.endpoint, headers: { 'X-User': JSON.stringify({ id, info: {} }) } },
  });
  const client = { pusher, numbers: [], away: [], here: new Set() };
  const channel = pusher.subscribe('presence-work');
  channel.bind('tick', ({ n }) => client.numbers.push(n));
  channel.bind('pusher:subscription_succeeded', ({ members }) => {
    client.here = new Set(Object.keys(members));
    const [last] = client.away.slice(-1);
    if (last) Object.assign(last, { to: now().begun + 1, end: Date.now() });
  });
  channel.bind('pusher:member_added', ({ id: user }) => client.here.add(String(user)));
  channel.bind('pusher:member_removed', ({ id: user }) => client.here.delete(String(user)));
  pusher.connection.bind('state_change', ({ previous }) => {
    // What was published after the server had closed the connection was not for this client.
    if (previous === 'connected') client.away.push({ from: (client.numbers.at(-1) ?? 0) + 1, begin: Date.now() });
  });
  return client;
}

/** Publishes numbered events one after the other through the proxy, as a backend with retries does. */
function publisher(sdk) {
  const progress = { begun: 0, done: 0, longest: 0, refused: 0 };
  let isOver = false;
  const ended = (async () => {
    while (!isOver) {
      progress.begun += 1;
      const begin = Date.now();
      for (;;) {
        const n = progress.begun;
        const status = await sdk.trigger('presence-work', 'tick', { n }).then((answer) => answer.status, (error) => error.status);
        if (status === 200) break;
        progress.refused += 1;
        await new Promise((resolve) => { setTimeout(resolve, 50); });
      }
      progress.longest = Math.max(progress.longest, Date.now() - begin);
      progress.done = progress.begun;
      await new Promise((resolve) => { setTimeout(resolve, PAUSE); });
    }
  })();
  return { progress, stop: () => { isOver = true; return ended; } };
}

for (const [name, start] of Object.entries(PROXIES)) {
  describe(`three nodes behind ${name}`, () => {
    let dir, redis, proxy, nodes, port, sdk, auth, hooks;
    const clients = [];

    before(async () => {
      dir = await folder();
      hooks = await endpoint();
      const redisPort = await freePort();
      redis = foreground('redis-server', ['--port', String(redisPort), '--bind', '127.0.0.1', '--save', '']);
      const env = {
        REVERB_SCALING_ENABLED: 'true', REDIS_HOST: '127.0.0.1', REDIS_PORT: String(redisPort),
        REVERB_APP_WEBHOOKS: hooks.url, CLARIM_DRAIN_SECONDS: '2', ...counted,
      };
      nodes = await Promise.all([1, 2, 3].map(() => startServer({ env })));
      for (const node of nodes) await ready(node);
      port = await freePort();
      process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
      proxy = await start(dir, port, nodes, await certificate(dir));
      sdk = new Sdk({ ...app, host: 'localhost', port: String(port), useTLS: true });
      const up = () => sdk.get({ path: '/channels' }).then(({ status }) => status === 200, () => false);
      await until(up, { what: `${name} answers` }).catch((error) => { throw new Error(`${error.message}\n${proxy.output()}`); });
      auth = await startAuth(sdk);
    }, limit);

    after(async () => {
      for (const { pusher } of clients) pusher.disconnect();
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
      await auth?.close();
      await proxy?.stop();
      for (const node of nodes ?? []) await node.dispose();
      await redis?.stop();
      hooks?.close();
      await dir?.remove();
    });

    /** Waits until the node is on the bus and knows the other two. */
    function ready(node) {
      return until(async () => {
        const text = await metrics(node).catch(() => '');
        return text.includes('\nclarim_bus_up 1\n') && text.includes('\nclarim_bus_nodes 2\n');
      }, { what: 'the node is ready' });
    }

    test('a rolling restart interrupts no client for long', limit, async (t) => {
      let progress = { begun: 0, done: 0 };
      for (let id = 0; id < CLIENTS; id += 1) clients.push(listener(port, auth, id, () => progress));
      for (const { pusher } of clients) await state(pusher, 'connected');
      await until(() => clients.every(({ here }) => here.size === CLIENTS), { what: 'all see all' });
      const told = () => hooks.events(sdk).filter(({ name: event }) => event.startsWith('member_'));
      await until(() => told().length === CLIENTS, { what: 'the backend knows all' });

      const publishing = publisher(sdk);
      progress = publishing.progress;
      for (const node of nodes) {
        await node.restart();
        await ready(node);
      }
      await until(() => clients.every(({ away }) => away.every(({ end }) => end)), { what: 'all are back' });
      const { done } = progress;
      await until(() => progress.done >= done + 20, { what: 'events after the restart' });
      await publishing.stop();
      for (const { numbers } of clients) await until(() => numbers.at(-1) === progress.begun, { what: 'the last event' });

      for (const { numbers, away } of clients) {
        // An event whose answer was lost with its node is published again with the same number.
        const first = numbers.filter((n, at) => numbers.indexOf(n) === at);
        assert.ok(numbers.length - first.length <= progress.refused, 'no event came twice');
        assert.deepEqual(first, first.toSorted((a, b) => a - b), 'in order');
        const heard = new Set(numbers);
        const isAway = (n) => away.some(({ from, to }) => n >= from && n <= to);
        const missed = Array.from({ length: progress.begun }, (_, n) => n + 1).filter((n) => !heard.has(n) && !isAway(n));
        assert.deepEqual(missed, [], `outside of ${JSON.stringify(away)}`);
      }
      const times = clients.flatMap(({ away }) => away.map(({ begin, end }) => end - begin)).sort((a, b) => a - b);
      t.diagnostic(`away ${times.length} times, median ${times[times.length >> 1]} ms, longest ${times.at(-1)} ms; `
        + `${progress.refused} publishes of ${progress.begun} were repeated, the longest took ${progress.longest} ms`);
      assert.ok(times.length >= CLIENTS, 'each client had to change its node');
      // Without the refusals of draining nodes, pusher-js finds nobody and pauses for 15 s.
      assert.ok(times.at(-1) < 10_000, `a client was away for ${times.at(-1)} ms`);
      assert.ok(progress.longest < 15_000, `a publish took ${progress.longest} ms`);

      const wrong = () => clients.map(({ here }, id) => ({ id, missing: clients.map((_, n) => String(n)).filter((n) => !here.has(n)) }))
        .filter(({ missing }) => missing.length);
      await until(() => wrong().length === 0, { what: 'presence is true', timeout: 15_000 })
        .catch((error) => { throw new Error(`${error.message}: ${JSON.stringify(wrong())}`); });
      const { users } = await (await sdk.get({ path: '/channels/presence-work/users' })).json();
      assert.equal(users.length, CLIENTS);

      // A user who was away for more than three seconds has left and come back, in this order and once.
      await until(() => {
        const last = new Map(told().map(({ user_id, name: event }) => [user_id, event]));
        return [...last.values()].every((event) => event === 'member_added');
      }, { what: 'the backend knows that all are there' });
      for (let id = 0; id < CLIENTS; id += 1) {
        const events = told().filter(({ user_id }) => user_id === String(id)).map(({ name: event }) => event);
        const expected = events.map((_, at) => (at % 2 ? 'member_removed' : 'member_added'));
        assert.deepEqual(events, expected, `webhooks of user ${id}`);
        const longest = Math.max(...clients[id].away.map(({ begin, end }) => end - begin));
        if (longest < 2_500) assert.equal(events.length, 1, `user ${id} was away for ${longest} ms only`);
      }
    });
  });
}

test('nginx asks nodes again that have just refused, if there are no others', limit, async () => {
  const dir = await folder();
  const nodes = await Promise.all([1, 2, 3].map(async () => ({ port: await freePort(), server: http.createServer() })));
  const port = await freePort();
  const nginx = await nginxWith(dir, nodes, {
    'listen 443 ssl;': `listen 127.0.0.1:${port};`,
    'ssl_certificate     /etc/ssl/certs/app.com.pem;': '',
    'ssl_certificate_key /etc/ssl/private/app.com.key;': '',
  });
  const ask = () => fetch(`http://127.0.0.1:${port}/app/key`).then(({ status }) => status, () => 0);
  try {
    await until(async () => await ask() === 502, { what: 'nginx has asked all nodes' });
    for (const { port: own, server } of nodes) {
      server.on('request', (request, response) => { response.end(); });
      await once(server.listen(own, '127.0.0.1'), 'listening');
    }
    assert.equal(await ask(), 200);
  } finally {
    for (const { server } of nodes) server.close();
    await nginx.stop();
    await dir.remove();
  }
});
