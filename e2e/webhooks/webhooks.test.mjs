// Webhooks, verified with the SDKs that applications use.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { world } from '../support/clients.mjs';
import { endpoint } from '../support/endpoint.mjs';
import { once, until } from '../support/events.mjs';
import { env as counted, metric } from '../support/metrics.mjs';
import { foreground } from '../support/programs.mjs';
import { freePort } from '../support/ports.mjs';
import { startServer } from '../support/server.mjs';

const limit = { timeout: 300_000 };
const all = 'channel_occupied,channel_vacated,member_added,member_removed,client_event,cache_miss,subscription_count';

describe('webhooks', () => {
  let w, hooks;

  before(async () => {
    hooks = await endpoint();
    w = await world({
      env: {
        REVERB_APP_WEBHOOKS: JSON.stringify([
          { url: hooks.url, events: all.split(','), headers: { Authorization: 'Bearer t0ken', 'X-Pusher-Key': 'no' } },
        ]),
        REVERB_APP_SUBSCRIPTION_COUNT: 'true',
      },
    });
  });
  after(async () => {
    await w.close();
    hooks.close();
  });

  const events = (channel) => hooks.events(w.sdk).filter((event) => event.channel === channel);
  const received = (channel, count) => until(() => events(channel).length >= count, {
    what: `${count} events of ${channel}`,
  }).then(() => events(channel));

  test('a channel becomes occupied, and is vacated three seconds after its last subscriber has left', limit, async () => {
    const client = await w.connected();
    client.subscribe('news');
    const [occupied, count] = await received('news', 2);
    assert.deepEqual(occupied, { name: 'channel_occupied', channel: 'news' });
    assert.deepEqual(count, { name: 'subscription_count', channel: 'news', subscription_count: 1 });
    const left = Date.now();
    client.disconnect();
    const last = (await received('news', 4)).at(-1);
    assert.deepEqual(last, { name: 'channel_vacated', channel: 'news' });
    assert.ok(Date.now() - left > 2_500, 'not at once');
  });

  test('a page reload is not a leave', limit, async () => {
    const user = { id: 7, info: {} };
    const first = await w.connected({ user });
    await once(first.subscribe('presence-again'), 'pusher:subscription_succeeded');
    first.disconnect();
    const again = await w.connected({ user });
    await once(again.subscribe('presence-again'), 'pusher:subscription_succeeded');
    await new Promise((resolve) => { setTimeout(resolve, 3_500); });
    assert.deepEqual(events('presence-again').sort((a, b) => a.name.localeCompare(b.name)), [
      { name: 'channel_occupied', channel: 'presence-again' },
      { name: 'member_added', channel: 'presence-again', user_id: '7' },
    ]);
    again.disconnect();
    assert.ok((await received('presence-again', 4)).some(({ name, user_id }) => name === 'member_removed' && user_id === '7'));
  });

  test('client events and cache misses', limit, async () => {
    const client = await w.connected({ user: { id: 8, info: {} } });
    const room = client.subscribe('presence-talk');
    await once(room, 'pusher:subscription_succeeded');
    room.trigger('client-typing', { name: 'Ana "A"' });
    const typed = (await received('presence-talk', 3)).find(({ name }) => name === 'client_event');
    assert.deepEqual({ ...typed, data: JSON.parse(typed.data) }, {
      name: 'client_event', channel: 'presence-talk', event: 'client-typing', data: { name: 'Ana "A"' },
      socket_id: client.connection.socket_id, user_id: '8',
    });
    await once(client.subscribe('cache-rates'), 'pusher:cache_miss');
    assert.ok((await received('cache-rates', 2)).some(({ name }) => name === 'cache_miss'));
    client.disconnect();
  });

  test('custom headers are added, but do not replace those of the server', limit, async () => {
    const [{ headers }] = hooks.taken;
    assert.equal(headers.authorization, 'Bearer t0ken');
    assert.equal(headers['content-type'], 'application/json');
    assert.equal(headers['x-pusher-key'], w.server.key);
  });

  test('requests to a failing endpoint are retried without losing events', limit, async () => {
    hooks.status = 302;
    const client = await w.connected();
    client.subscribe('retried');
    await until(() => hooks.requests.items.some(({ status }) => status === 302), { what: 'a request that fails' });
    hooks.status = 500;
    await until(() => hooks.requests.items.some(({ status }) => status === 500), { what: 'it is retried' });
    hooks.status = 200;
    assert.equal((await received('retried', 2))[0].name, 'channel_occupied');
    client.disconnect();
  });

  test('a slow endpoint does not delay clients', limit, async () => {
    const release = hooks.hold();
    const clients = await Promise.all(Array.from({ length: 20 }, () => w.connected()));
    for (const [n, client] of clients.entries()) {
      const channel = client.subscribe(`slow-${n}`);
      await once(channel, 'pusher:subscription_succeeded');
      const heard = once(channel, 'e');
      await w.sdk.trigger(`slow-${n}`, 'e', {});
      await heard;
    }
    release();
    for (const client of clients) client.disconnect();
  });
});

describe('endpoints', () => {
  test('each has its own filters', { timeout: 300_000 }, async () => {
    const [orders, people] = await Promise.all([endpoint(), endpoint()]);
    const w = await world({ env: {
      REVERB_APP_WEBHOOKS: JSON.stringify([
        { url: orders.url, channels: ['orders'], events: ['channel_occupied'] },
        { url: people.url, events: ['member_added'] },
      ]),
    } });
    try {
      const client = await w.connected({ user: { id: 7 } });
      await once(client.subscribe('orders'), 'pusher:subscription_succeeded');
      await once(client.subscribe('presence-room'), 'pusher:subscription_succeeded');
      await until(() => people.taken.length > 0 && orders.taken.length > 0, { what: 'both endpoints get their events' });
      assert.deepEqual(orders.events(w.sdk).map(({ name, channel }) => [name, channel]), [['channel_occupied', 'orders']]);
      assert.deepEqual(people.events(w.sdk).map(({ name, user_id }) => [name, user_id]), [['member_added', '7']]);
    } finally {
      await w.close();
      orders.close();
      people.close();
    }
  });

  test('private addresses can be refused', { timeout: 300_000 }, async () => {
    const hooks = await endpoint();
    const named = hooks.url.replace('127.0.0.1', 'localhost');
    const w = await world({ env: {
      REVERB_APP_WEBHOOKS: `${hooks.url},${named}`, CLARIM_WEBHOOK_PRIVATE_ADDRESSES: 'false', ...counted,
    } });
    try {
      const client = await w.connected();
      await once(client.subscribe('orders'), 'pusher:subscription_succeeded');
      const failures = () => metric(w.server, 'clarim_webhook_failures_total');
      await until(async () => (await failures()) >= 2, { what: 'both are refused' });
      assert.deepEqual(hooks.requests.items, []);
    } finally {
      await w.close();
      hooks.close();
    }
  });
});

describe('webhooks of a cluster', () => {
  /** Two nodes on one Redis, with one endpoint. */
  async function cluster(more = {}) {
    const hooks = await endpoint();
    const port = await freePort();
    const redis = foreground('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '']);
    const env = {
      REVERB_APP_WEBHOOKS: JSON.stringify([{ url: hooks.url, channels: ['presence-', 'private-'] }]), REVERB_SCALING_ENABLED: 'true',
      REDIS_PORT: String(port), CLARIM_DRAIN_SECONDS: '0', ...more,
    };
    const w = await world({ env });
    const other = await startServer({ env });
    for (const node of [w.server, other]) {
      await until(async () => (await fetch(`${node.url}/ready`)).ok, { what: 'ready' });
    }
    const received = () => hooks.events(w.sdk).map(({ name, channel, user_id }) => [name, channel, user_id].filter(Boolean).join(' '));
    /** A client of a node, on the presence channel. */
    const joined = async (node, id) => {
      const client = await w.connected({ wsPort: node.port, user: { id, info: {} } });
      await once(client.subscribe('presence-room'), 'pusher:subscription_succeeded');
      return client;
    };
    const close = async () => {
      await w.close();
      await other.dispose();
      await redis.stop();
      hooks.close();
    };
    return { w, other, received, joined, close };
  }
  const passed = (time) => new Promise((resolve) => { setTimeout(resolve, time); });

  test('are sent once whichever node clients are on, and only for the configured channels', { timeout: 300_000 }, async () => {
    const { w, other, received, close } = await cluster();
    try {
      const on = (node, id) => w.connected({ wsPort: node.port, user: { id, info: {} } });
      const nodes = [w.server, other, w.server, other];
      // One user with a tab on each node, and two other users, all at once.
      const clients = await Promise.all(nodes.map((node, n) => on(node, n < 2 ? 1 : n)));
      for (const client of clients) client.subscribe('news');
      await Promise.all(clients.map((client) => once(client.subscribe('presence-room'), 'pusher:subscription_succeeded')));
      await until(() => received().length === 4, { what: 'all joins' });
      for (const client of clients) client.disconnect();
      await until(() => received().some((event) => event.startsWith('channel_vacated')), { what: 'the last events' });
      await passed(1_000);
      assert.deepEqual(received().sort(), [
        'channel_occupied presence-room',
        'channel_vacated presence-room',
        ...['1', '2', '3'].map((id) => `member_added presence-room ${id}`),
        ...['1', '2', '3'].map((id) => `member_removed presence-room ${id}`),
      ]);
    } finally {
      await close();
    }
  });

  test('are not sent for a user who reconnects to another node, even if the first one stops', { timeout: 300_000 }, async () => {
    const { w, other, received, joined, close } = await cluster();
    try {
      const here = await joined(w.server, 1);
      const first = ['channel_occupied presence-room', 'member_added presence-room 1'];
      await until(() => received().length === 2, { what: 'the join' });
      // A page is reloaded, and the load balancer routes it to another node, and later back.
      here.disconnect();
      await passed(500);
      const there = await joined(other, 1);
      await passed(5_000);
      assert.deepEqual(received().sort(), first);
      there.disconnect();
      const back = await joined(w.server, 1);
      await passed(5_000);
      assert.deepEqual(received().sort(), first);
      // Its node is stopped and drains.
      const stopped = w.server.stop();
      await once(back.connection, 'state_change');
      back.disconnect();
      const last = await joined(other, 1);
      await stopped;
      await passed(4_000);
      assert.deepEqual(received().sort(), first, 'there is no leave');
      last.disconnect();
      await until(() => received().length === 4, { what: 'the last events' });
      assert.deepEqual(received().sort(), [first[0], 'channel_vacated presence-room', first[1], 'member_removed presence-room 1'].sort());
    } finally {
      await close();
    }
  });

  test('are sent for a user whose only node was killed', { timeout: 300_000 }, async () => {
    const { w, received, joined, close } = await cluster({ CLARIM_SCALING_LEASE: '2' });
    try {
      const client = await joined(w.server, 1);
      await until(() => received().length === 2, { what: 'the join' });
      await w.server.kill();
      client.disconnect();
      await until(() => received().length === 4, { what: 'the leave' });
      assert.deepEqual(received().slice(2).sort(), ['channel_vacated presence-room', 'member_removed presence-room 1']);
    } finally {
      await close();
    }
  });
});
