// pusher-js and the server SDK, both unmodified, against the real server.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { inbox, never, once, state, until } from './support/events.mjs';
import { sdkFor, world } from './support/clients.mjs';

const limit = { timeout: 300_000 };
const ana = { id: 7, info: { name: 'Ana' } };
const ben = { id: 'ben', info: { name: 'Ben' } };

/** Subscribes and waits for the reply. */
async function subscribe(client, name) {
  const channel = client.subscribe(name);
  const [data] = await once(channel, 'pusher:subscription_succeeded');
  return Object.assign(channel, { succeeded: data });
}

const ids = (members) => {
  const all = [];
  members.each((member) => all.push(member.id));
  return all.sort();
};

describe('pusher-js', () => {
  let w;
  before(async () => { w = await world(); });
  after(() => w.close());

  describe('connection', () => {
    test('goes through connecting to connected', limit, async () => {
      const client = w.client();
      const states = [client.connection.state];
      client.connection.bind('state_change', ({ current }) => states.push(current));
      await state(client, 'connected');
      assert.deepEqual(states, ['connecting', 'connected']);
      assert.match(client.connection.socket_id, /^\d+\.\d+$/);
      client.disconnect();
      assert.equal(client.connection.state, 'disconnected');
    });

    test('reconnects on request', limit, async () => {
      const client = await w.connected();
      const first = client.connection.socket_id;
      client.disconnect();
      client.connect();
      await state(client, 'connected');
      assert.notEqual(client.connection.socket_id, first);
    });

    test('does not reconnect after the refusal of an unknown key', limit, async () => {
      const client = w.client({ key: 'no-such-key' });
      const error = once(client.connection, 'error');
      await once(client.connection, 'state_change', {
        where: ({ current }) => current === 'disconnected' || current === 'failed',
      });
      const [{ error: { data } }] = await error;
      assert.equal(data.code, 4001);
      await never(client.connection, 'state_change', 3_000);
    });

    test('answers pings of the client', limit, async () => {
      // With this timeout the client pings after each silent second, and would reconnect without a pong.
      const client = await w.connected({ activityTimeout: 1_000, pongTimeout: 1_000 });
      await never(client.connection, 'state_change', 4_000);
      assert.equal(client.connection.state, 'connected');
    });
  });

  describe('public channel', () => {
    test('gets events with every kind of data', limit, async () => {
      const channel = await subscribe(await w.connected(), 'news');
      for (const data of [{ title: 'Olá, 世界 🎺' }, 'text', 42, [1, 2], true, null]) {
        const event = once(channel, 'published');
        await w.sdk.trigger('news', 'published', data);
        assert.deepEqual((await event)[0], data);
      }
    });

    test('gets nothing once unsubscribed', limit, async () => {
      const client = await w.connected();
      const channel = await subscribe(client, 'left');
      const marker = await subscribe(client, 'left-marker');
      const got = inbox();
      client.bind_global((event, data) => { if (event === 'e') got(data); });
      await w.sdk.trigger('left', 'e', 1);
      assert.equal(await got.take(), 1);

      client.unsubscribe('left');
      assert.equal(channel.subscribed, false);
      await until(async () => {
        const { channels } = await (await w.sdk.get({ path: '/channels' })).json();
        return !('left' in channels);
      }, { what: 'the channel is vacated' });
      const end = once(marker, 'e');
      await w.sdk.trigger(['left', 'left-marker'], 'e', 2);
      await end;
      assert.deepEqual(got.items, [2], 'only what came over the marker');

      await subscribe(client, 'left');
      const again = once(client.channel('left'), 'e');
      await w.sdk.trigger('left', 'e', 3);
      assert.equal((await again)[0], 3);
    });

    test('keeps the order', limit, async () => {
      const channel = await subscribe(await w.connected(), 'order');
      const got = inbox();
      channel.bind('n', got);
      for (let n = 0; n < 50; n += 1) await w.sdk.trigger('order', 'n', { n });
      for (let n = 0; n < 50; n += 1) assert.deepEqual(await got.take(), { n });
    });
  });

  describe('private channel', () => {
    test('gets events', limit, async () => {
      const channel = await subscribe(await w.connected(), 'private-orders');
      const event = once(channel, 'shipped');
      await w.sdk.trigger('private-orders', 'shipped', { id: 1 });
      assert.deepEqual((await event)[0], { id: 1 });
    });

    test('is refused by the application', limit, async () => {
      const channel = (await w.connected()).subscribe('private-forbidden');
      const [error] = await once(channel, 'pusher:subscription_error');
      assert.equal(error.status, 403);
      assert.equal(error.type, 'AuthError');
      assert.equal(channel.subscribed, false);
    });

    test('is refused by the server when the signature is wrong', limit, async () => {
      const client = await w.connected();
      const channel = client.subscribe('private-missigned');
      const [error] = await once(channel, 'pusher:subscription_error');
      assert.equal(channel.subscribed, false);
      assert.equal(error.status, 401);
      // The connection is not affected.
      await subscribe(client, 'private-fine');
    });

    test('forwards whispers to the others only', limit, async () => {
      const [a, b] = await Promise.all([w.connected(), w.connected()]);
      const [one, two] = await Promise.all([subscribe(a, 'private-chat'), subscribe(b, 'private-chat')]);
      const own = inbox();
      one.bind('client-typing', own);
      const heard = once(two, 'client-typing');
      assert.equal(one.trigger('client-typing', { at: 3 }), true);
      assert.deepEqual((await heard)[0], { at: 3 });

      const marker = once(one, 'client-answer');
      two.trigger('client-answer', {});
      await marker;
      assert.deepEqual(own.items, []);
    });
  });

  describe('presence channel', () => {
    test('lists its members, with numeric and string ids', limit, async () => {
      const a = await w.connected({ user: ana });
      const one = await subscribe(a, 'presence-room');
      assert.equal(one.succeeded.count, 1);
      assert.equal(one.members.count, 1);
      assert.equal(String(one.members.me.id), '7');
      assert.deepEqual(one.members.me.info, ana.info);

      const added = once(one, 'pusher:member_added');
      const b = await w.connected({ user: ben });
      const two = await subscribe(b, 'presence-room');
      const [member] = await added;
      assert.equal(member.id, 'ben');
      assert.deepEqual(member.info, ben.info);
      assert.equal(one.members.count, 2);
      assert.equal(two.members.count, 2);
      assert.deepEqual(ids(two.members), ['7', 'ben']);
      assert.deepEqual(two.members.get('7').info, ana.info);
      assert.equal(two.members.me.id, 'ben');

      const removed = once(two, 'pusher:member_removed');
      a.unsubscribe('presence-room');
      const [gone] = await removed;
      assert.equal(String(gone.id), '7');
      assert.deepEqual(gone.info, ana.info);
      assert.equal(two.members.count, 1);

      const back = once(two, 'pusher:member_added');
      await subscribe(a, 'presence-room');
      assert.equal(String((await back)[0].id), '7');
      assert.equal(two.members.count, 2);

      const dropped = once(two, 'pusher:member_removed');
      a.disconnect();
      assert.equal(String((await dropped)[0].id), '7');
    });

    test('counts a user with two connections once', limit, async () => {
      const watcher = await subscribe(await w.connected({ user: ben }), 'presence-tabs');
      const changes = inbox();
      watcher.bind('pusher:member_added', ({ id }) => changes(`+${id}`));
      watcher.bind('pusher:member_removed', ({ id }) => changes(`-${id}`));

      const [tab, other] = await Promise.all([w.connected({ user: ana }), w.connected({ user: ana })]);
      await subscribe(tab, 'presence-tabs');
      assert.equal((await subscribe(other, 'presence-tabs')).members.count, 2);
      assert.equal(await changes.take(), '+7');
      await subscribe(tab, 'first-tab');
      tab.disconnect();
      await until(async () => !(await (await w.sdk.get({ path: '/channels/first-tab' })).json()).occupied,
        { what: 'the first tab is gone' });
      assert.deepEqual(changes.items, []);
      other.disconnect();
      assert.equal(await changes.take(), '-7');
      assert.deepEqual(changes.items, []);
    });

    test('includes the sender of a whisper', limit, async () => {
      const [a, b] = await Promise.all([w.connected({ user: ana }), w.connected({ user: ben })]);
      const one = await subscribe(a, 'presence-whisper');
      const two = await subscribe(b, 'presence-whisper');
      const fromAna = once(two, 'client-typing');
      one.trigger('client-typing', { n: 1 });
      const [data, metadata] = await fromAna;
      assert.deepEqual(data, { n: 1 });
      assert.equal(String(metadata.user_id), '7');
      const fromBen = once(one, 'client-typing');
      two.trigger('client-typing', { n: 2 });
      assert.equal((await fromBen)[1].user_id, 'ben');
    });

    test('is refused without a user', limit, async () => {
      const channel = (await w.connected()).subscribe('presence-room');
      const [error] = await once(channel, 'pusher:subscription_error');
      assert.equal(error.status, 403);
    });
  });

  describe('encrypted channel', () => {
    test('decrypts events that the SDK encrypted', limit, async () => {
      const channel = await subscribe(await w.connected(), 'private-encrypted-vault');
      const event = once(channel, 'secret');
      await w.sdk.trigger('private-encrypted-vault', 'secret', { pin: 'çÇ 1234' });
      assert.deepEqual((await event)[0], { pin: 'çÇ 1234' });
    });

    test('with a cache gives the last event, decrypted', limit, async () => {
      await w.sdk.trigger('private-encrypted-cache-vault', 'secret', { pin: 1 });
      const channel = (await w.connected()).subscribe('private-encrypted-cache-vault');
      assert.deepEqual((await once(channel, 'secret'))[0], { pin: 1 });
    });
  });

  describe('cache channel', () => {
    for (const name of ['cache-price', 'private-cache-price', 'presence-cache-price']) {
      test(`${name}: a miss first, then the last event`, limit, async () => {
        const first = (await w.connected({ user: ana })).subscribe(name);
        await Promise.all([once(first, 'pusher:subscription_succeeded'), once(first, 'pusher:cache_miss')]);

        const live = once(first, 'changed', { where: ({ price }) => price === 2 });
        await w.sdk.trigger(name, 'changed', { price: 1 });
        await w.sdk.trigger(name, 'changed', { price: 2 });
        await live;

        const order = [];
        const second = (await w.connected({ user: ben })).subscribe(name);
        second.bind('pusher:subscription_succeeded', () => order.push('succeeded'));
        second.bind('pusher:cache_miss', () => order.push('miss'));
        second.bind('changed', ({ price }) => order.push(price));
        await once(second, 'changed');
        assert.deepEqual(order, ['succeeded', 2]);
      });
    }
  });

  describe('user', () => {
    const signIn = async (user) => {
      const client = await w.connected({ user });
      client.signin();
      await client.user.signinDonePromise;
      assert.equal(client.user.user_data.id, String(user.id));
      await once(client.user.serverToUserChannel, 'pusher:subscription_succeeded');
      return client;
    };

    test('gets user events on each connection', limit, async () => {
      const user = { id: 'u-events', info: { name: 'U' } };
      const [a, b, other] = await Promise.all([
        signIn(user), signIn(user), signIn({ id: 'u-other', info: {} }),
      ]);
      assert.deepEqual(a.user.user_data.user_info, user.info);
      const notHers = inbox();
      other.user.bind_global((event) => notHers(event));
      const both = [a, b].map((client) => once(client.user, 'greeting'));
      await w.sdk.sendToUser('u-events', 'greeting', { text: 'Olá' });
      for (const [data] of await Promise.all(both)) assert.deepEqual(data, { text: 'Olá' });
      const marker = once(other.user, 'marker');
      await w.sdk.sendToUser('u-other', 'marker', {});
      await marker;
      assert.deepEqual(notHers.items, ['marker']);
    });

    test('gets watchlist events when users come and go', limit, async () => {
      const already = await signIn({ id: 'w-already', info: {} });
      const watcher = w.client({ user: { id: 'w-me', info: {}, watchlist: ['w-friend', 'w-already'] } });
      const got = inbox();
      watcher.user.watchlist.bind('online', ({ user_ids }) => got(['online', ...user_ids]));
      watcher.user.watchlist.bind('offline', ({ user_ids }) => got(['offline', ...user_ids]));
      await state(watcher, 'connected');
      watcher.signin();
      const initial = [await got.take(), await got.take()].sort();
      assert.deepEqual(initial, [['offline', 'w-friend'], ['online', 'w-already']]);

      const friend = await signIn({ id: 'w-friend', info: {} });
      assert.deepEqual(await got.take(), ['online', 'w-friend']);
      friend.disconnect();
      assert.deepEqual(await got.take(), ['offline', 'w-friend']);
      already.disconnect();
      assert.deepEqual(await got.take(), ['offline', 'w-already']);
    });

    test('does not reconnect after being terminated', limit, async () => {
      const user = { id: 'u-banned', info: {} };
      const [a, b] = await Promise.all([signIn(user), signIn(user)]);
      const bystander = await signIn({ id: 'u-bystander', info: {} });
      const errors = [a, b].map((client) => once(client.connection, 'error'));
      const ended = [a, b].map((client) => state(client, 'disconnected'));
      assert.equal((await w.sdk.terminateUserConnections('u-banned')).status, 200);
      for (const [{ data }] of await Promise.all(errors)) assert.equal(data.code, 4009);
      await Promise.all(ended);
      await Promise.all([a, b].map((client) => never(client.connection, 'state_change', 3_000)));
      assert.equal(bystander.connection.state, 'connected');
    });

    test('is refused by the application', limit, async () => {
      const client = await w.connected();
      client.signin();
      await until(() => w.auth.requests.some(({ url, fields }) =>
        url === '/broadcasting/user-auth' && fields.socket_id === client.connection.socket_id));
      assert.equal(await client.user.signinDonePromise, undefined);
      assert.equal(client.user.user_data, null);
      assert.equal(client.connection.state, 'connected');
    });
  });

  describe('server SDK', () => {
    const json = async (path, params) => (await w.sdk.get({ path, params })).json();

    test('triggers to many channels', limit, async () => {
      const client = await w.connected();
      const names = Array.from({ length: 20 }, (_, n) => `many-${n}`);
      const channels = await Promise.all(names.map((name) => subscribe(client, name)));
      const all = channels.map((channel) => once(channel, 'e'));
      await w.sdk.trigger(names, 'e', { to: 'all' });
      for (const [data] of await Promise.all(all)) assert.deepEqual(data, { to: 'all' });
    });

    test('triggers a batch', limit, async () => {
      const client = await w.connected();
      const [x, y] = await Promise.all([subscribe(client, 'batch-x'), subscribe(client, 'private-batch-y')]);
      const both = [once(x, 'first'), once(y, 'second')];
      await w.sdk.triggerBatch([
        { channel: 'batch-x', name: 'first', data: { n: 1 } },
        { channel: 'private-batch-y', name: 'second', data: { n: 2 } },
      ]);
      assert.deepEqual((await Promise.all(both)).map(([data]) => data), [{ n: 1 }, { n: 2 }]);
    });

    test('excludes the socket that caused the event', limit, async () => {
      const [a, b] = await Promise.all([w.connected(), w.connected()]);
      const [one, two] = await Promise.all([subscribe(a, 'excluded'), subscribe(b, 'excluded')]);
      const own = inbox();
      one.bind_global((event, data) => { if (event === 'e') own(data); });
      const other = inbox();
      two.bind('e', other);
      const params = { socket_id: a.connection.socket_id };
      await w.sdk.trigger('excluded', 'e', 'trigger', params);
      await w.sdk.triggerBatch([{ channel: 'excluded', name: 'e', data: 'batch', ...params }]);
      await w.sdk.trigger('excluded', 'e', 'to all');
      assert.deepEqual([await other.take(), await other.take(), await other.take()], ['trigger', 'batch', 'to all']);
      assert.equal(await own.take(), 'to all');
    });

    test('gets counts with the answer to a trigger', limit, async () => {
      await subscribe(await w.connected({ user: ana }), 'presence-counted');
      const answer = await w.sdk.trigger('presence-counted', 'e', {}, { info: 'user_count' });
      assert.deepEqual(await answer.json(), { channels: { 'presence-counted': { user_count: 1 } } });
    });

    test('lists channels, by prefix and with counts', limit, async () => {
      const [a, b] = await Promise.all([w.connected({ user: ana }), w.connected({ user: ben })]);
      await Promise.all(['list-open', 'presence-list-1', 'presence-list-2'].map((name) => subscribe(a, name)));
      await subscribe(b, 'presence-list-1');

      const { channels } = await json('/channels');
      for (const name of ['list-open', 'presence-list-1', 'presence-list-2']) assert.ok(name in channels, name);
      assert.deepEqual(await json('/channels', { filter_by_prefix: 'presence-list-', info: 'user_count' }), {
        channels: { 'presence-list-1': { user_count: 2 }, 'presence-list-2': { user_count: 1 } },
      });
      const open = await json('/channels', { filter_by_prefix: 'list-', info: 'subscription_count' });
      assert.deepEqual(open, { channels: { 'list-open': { subscription_count: 1 } } });
      assert.deepEqual(await json('/channels', { filter_by_prefix: 'no-such-' }), { channels: {} });
    });

    test('shows one channel', limit, async () => {
      const client = await w.connected({ user: ana });
      await Promise.all([subscribe(client, 'one'), subscribe(client, 'presence-one'), subscribe(client, 'cache-one')]);
      await w.sdk.trigger('cache-one', 'e', { n: 1 });
      assert.deepEqual(await json('/channels/one', { info: 'subscription_count' }),
        { occupied: true, subscription_count: 1 });
      assert.deepEqual(await json('/channels/presence-one', { info: 'user_count,subscription_count' }),
        { occupied: true, user_count: 1, subscription_count: 1 });
      const { cache } = await json('/channels/cache-one', { info: 'cache' });
      assert.match(JSON.stringify(cache), /\\?"n\\?":1/);
      assert.equal((await json('/channels/nobody-here')).occupied, false);
    });

    test('shows the users of a presence channel', limit, async () => {
      const [a, b] = await Promise.all([w.connected({ user: ana }), w.connected({ user: ben })]);
      await subscribe(a, 'presence-users');
      await subscribe(b, 'presence-users');
      const { users } = await json('/channels/presence-users/users');
      assert.deepEqual(users.map(({ id }) => String(id)).sort(), ['7', 'ben']);
      await assert.rejects(json('/channels/not-presence/users'), { status: 400 });
    });

    test('is refused with a wrong secret, and for an unknown app', limit, async () => {
      await assert.rejects(sdkFor({ ...w.server, secret: 'wrong' }).trigger('c', 'e', {}), { status: 401 });
      await assert.rejects(sdkFor({ ...w.server, appId: '999' }).trigger('c', 'e', {}), ({ status }) =>
        [401, 404].includes(status));
    });
  });
});

describe('pusher-js with subscription counts', () => {
  let w;
  before(async () => { w = await world({ env: { REVERB_APP_SUBSCRIPTION_COUNT: 'true' } }); });
  after(() => w.close());

  test('gets the number of subscribers', limit, async () => {
    const counts = inbox();
    const channel = (await w.connected()).subscribe('counted');
    channel.bind('pusher:subscription_count', ({ subscription_count }) => counts(subscription_count));
    assert.equal(await counts.take(), 1);
    const other = await w.connected();
    await subscribe(other, 'counted');
    assert.equal(await counts.take(), 2);
    assert.equal(channel.subscriptionCount, 2);
    other.disconnect();
    assert.equal(await counts.take(), 1);
  });
});

describe('pusher-js when the server stops', () => {
  let w;
  before(async () => { w = await world({ env: { REVERB_DRAIN_SECONDS: '1' } }); });
  after(() => w.close());

  const comesBack = async (away) => {
    const client = await w.connected({ user: ana });
    const names = ['back', 'private-back', 'presence-back'];
    const channels = await Promise.all(names.map((name) => subscribe(client, name)));
    client.signin();
    await client.user.signinDonePromise;
    const first = client.connection.socket_id;

    const left = once(client.connection, 'state_change', { where: ({ previous }) => previous === 'connected' });
    const again = channels.map((channel) => once(channel, 'pusher:subscription_succeeded', { timeout: 12_000 }));
    await away(client);
    await left;
    await Promise.all(again);
    assert.notEqual(client.connection.socket_id, first);

    const events = channels.map((channel) => once(channel, 'e'));
    await w.sdk.trigger(names, 'e', { n: 2 });
    for (const [data] of await Promise.all(events)) assert.deepEqual(data, { n: 2 });
    assert.equal(client.channel('presence-back').members.count, 1);
    await client.user.signinDonePromise;
    await until(() => client.user.serverToUserChannel?.subscribed, { what: 'signed in again' });
    const greeting = once(client.user, 'greeting');
    await w.sdk.sendToUser('7', 'greeting', 'again');
    assert.equal((await greeting)[0], 'again');
    client.disconnect();
  };

  // On 4200 pusher-js reconnects at once. If the connection were refused then, it would wait 15 seconds.
  // Therefore the draining server still listens and closes with 4100, on which clients retry after a second.
  test('reconnects after SIGTERM, which closes with 4200', limit, () => comesBack(async (client) => {
    const closed = once(client.connection, 'error');
    assert.deepEqual(await w.server.restart(), { code: 0, signal: null });
    assert.equal((await closed)[0].data?.code, 4200);
  }));

  test('reconnects after a crash', limit, () => comesBack(async () => {
    await w.server.kill();
    await w.server.start();
  }));
});
