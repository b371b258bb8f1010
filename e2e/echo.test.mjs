// laravel-echo, unmodified, as a Laravel application configures it for Reverb.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { inbox, once, state, until } from './support/events.mjs';
import { world } from './support/clients.mjs';

const limit = { timeout: 300_000 };
const ana = { id: 7, info: { id: 7, name: 'Ana' } };
const ben = { id: 8, info: { id: 8, name: 'Ben' } };
const notificationEvent = 'Illuminate\\Notifications\\Events\\BroadcastNotificationCreated';

describe('laravel-echo', () => {
  let w;
  before(async () => { w = await world(); });
  after(() => w.close());

  async function connected(more) {
    const echo = w.echo(more);
    await state(echo.connector.pusher, 'connected');
    return echo;
  }

  const subscribed = (channel) => {
    const done = inbox();
    channel.subscribed(done);
    return done.take().then(() => channel);
  };

  const vacated = (name) => until(
    async () => !(await (await w.sdk.get({ path: `/channels/${name}` })).json()).occupied,
    { what: `${name} is vacated` },
  );

  describe('connection', () => {
    test('connectionStatus and socketId', limit, async () => {
      const echo = w.echo();
      assert.equal(echo.connectionStatus(), 'connecting');
      assert.equal(echo.socketId(), undefined);
      await state(echo.connector.pusher, 'connected');
      assert.equal(echo.connectionStatus(), 'connected');
      assert.match(echo.socketId(), /^\d+\.\d+$/);
      echo.disconnect();
      assert.equal(echo.connectionStatus(), 'disconnected');
    });

    test('onConnectionChange, and its removal', limit, async () => {
      const echo = w.echo();
      const statuses = inbox();
      const stop = echo.connector.onConnectionChange(statuses);
      assert.equal(await statuses.take(), 'connected');
      echo.disconnect();
      await until(() => statuses.items.at(-1) === 'disconnected');
      stop();
      const before = statuses.items.length;
      echo.connector.pusher.connect();
      await state(echo.connector.pusher, 'connected');
      assert.equal(statuses.items.length, before);
    });

    test('connect reconnects after disconnect', limit, async () => {
      const echo = await connected();
      const first = echo.socketId();
      echo.disconnect();
      echo.connect();
      w.keep(echo.connector);
      await state(echo.connector.pusher, 'connected');
      assert.notEqual(echo.socketId(), first);
    });

    test('status of an unknown key is disconnected', limit, async () => {
      const echo = w.echo({ key: 'no-such-key' });
      await state(echo.connector.pusher, 'disconnected');
      assert.equal(echo.connectionStatus(), 'disconnected');
    });
  });

  describe('channel', () => {
    test('listen: the namespace App.Events, and none after a leading dot', limit, async () => {
      const channel = (await connected()).channel('orders');
      const [shipped, nested, named, absolute] = [inbox(), inbox(), inbox(), inbox()];
      channel
        .listen('OrderShipped', shipped)
        .listen('Orders.Paid', nested)
        .listen('.order.named', named)
        .listen('\\Other\\Space\\Event', absolute);
      await subscribed(channel);

      await w.sdk.trigger('orders', 'App\\Events\\OrderShipped', { order: { id: 1, note: 'Olá' } });
      await w.sdk.trigger('orders', 'App\\Events\\Orders\\Paid', { id: 2 });
      await w.sdk.trigger('orders', 'order.named', { id: 3 });
      await w.sdk.trigger('orders', 'Other\\Space\\Event', { id: 4 });
      assert.deepEqual(await shipped.take(), { order: { id: 1, note: 'Olá' } });
      assert.deepEqual(await nested.take(), { id: 2 });
      assert.deepEqual(await named.take(), { id: 3 });
      assert.deepEqual(await absolute.take(), { id: 4 });
    });

    test('listen with a namespace of its own, and with none', limit, async () => {
      const own = await connected({ namespace: 'Shop.Broadcast' });
      const none = await connected({ namespace: false });
      const [first, second] = [inbox(), inbox()];
      await subscribed(own.channel('namespaces').listen('Sold', first));
      await subscribed(none.channel('namespaces').listen('Sold', second));
      await w.sdk.trigger('namespaces', 'Shop\\Broadcast\\Sold', { n: 1 });
      await w.sdk.trigger('namespaces', 'Sold', { n: 2 });
      assert.deepEqual(await first.take(), { n: 1 });
      assert.deepEqual(await second.take(), { n: 2 });
    });

    test('Echo.listen is short for channel and listen', limit, async () => {
      const echo = await connected();
      const got = inbox();
      await subscribed(echo.listen('short', 'Happened', got));
      await w.sdk.trigger('short', 'App\\Events\\Happened', { n: 1 });
      assert.deepEqual(await got.take(), { n: 1 });
      assert.equal(echo.channel('short'), echo.channel('short'), 'one object per channel');
    });

    test('listenToAll, and stopListeningToAll', limit, async () => {
      const channel = (await connected()).channel('all');
      const [got, end] = [inbox(), inbox()];
      channel.listenToAll((event, data) => got([event, data]));
      await subscribed(channel);
      await w.sdk.trigger('all', 'App\\Events\\One', { n: 1 });
      await w.sdk.trigger('all', 'two', { n: 2 });
      assert.deepEqual(await got.take(), ['One', { n: 1 }]);
      assert.deepEqual(await got.take(), ['.two', { n: 2 }]);

      channel.stopListeningToAll();
      channel.listen('.end', end);
      await w.sdk.trigger('all', 'end', {});
      await end.take();
      assert.deepEqual(got.items, []);
    });

    test('on receives events by their full name', limit, async () => {
      const channel = (await connected()).channel('raw');
      const got = inbox();
      channel.on('App\\Events\\Raw', got);
      await subscribed(channel);
      await w.sdk.trigger('raw', 'App\\Events\\Raw', { n: 1 });
      assert.deepEqual(await got.take(), { n: 1 });
    });

    test('stopListening: one listener, then all of an event', limit, async () => {
      const channel = (await connected()).channel('stop');
      const [one, two, end] = [inbox(), inbox(), inbox()];
      channel.listen('E', one).listen('E', two).listen('End', end);
      await subscribed(channel);
      channel.stopListening('E', one);
      await w.sdk.trigger('stop', 'App\\Events\\E', { n: 1 });
      assert.deepEqual(await two.take(), { n: 1 });
      channel.stopListening('E');
      await w.sdk.trigger('stop', 'App\\Events\\E', { n: 2 });
      await w.sdk.trigger('stop', 'App\\Events\\End', {});
      await end.take();
      assert.deepEqual([one.items, two.items], [[], []]);
    });

    test('toOthers: the socket that caused an event is left out', limit, async () => {
      const [a, b] = await Promise.all([connected(), connected()]);
      const [own, other] = [inbox(), inbox()];
      await subscribed(a.channel('others').listen('Said', own));
      await subscribed(b.channel('others').listen('Said', other));
      await w.sdk.trigger('others', 'App\\Events\\Said', { n: 1 }, { socket_id: a.socketId() });
      await w.sdk.trigger('others', 'App\\Events\\Said', { n: 2 });
      assert.deepEqual([await other.take(), await other.take()], [{ n: 1 }, { n: 2 }]);
      assert.deepEqual(await own.take(), { n: 2 });
    });
  });

  describe('private', () => {
    test('listen, with the token and the CSRF token sent to the application', limit, async () => {
      const echo = await connected({ bearerToken: 'secret-token', csrfToken: 'csrf' });
      const got = inbox();
      await subscribed(echo.private('orders.1').listen('OrderShipped', got));
      await w.sdk.trigger('private-orders.1', 'App\\Events\\OrderShipped', { id: 1 });
      assert.deepEqual(await got.take(), { id: 1 });

      const { headers, fields } = w.auth.requests.find(({ fields: f }) => f.channel_name === 'private-orders.1');
      assert.equal(headers.authorization, 'Bearer secret-token');
      assert.equal(headers['x-csrf-token'], 'csrf');
      assert.equal(fields.socket_id, echo.socketId());
    });

    test('notification, and stopListeningForNotification', limit, async () => {
      const channel = (await connected()).private('App.Models.User.7');
      const [got, kept] = [inbox(), inbox()];
      channel.notification(got).notification(kept);
      await subscribed(channel);
      const notification = { id: 'uuid', type: 'App\\Notifications\\InvoicePaid', amount: 10 };
      await w.sdk.trigger('private-App.Models.User.7', notificationEvent, notification);
      assert.deepEqual(await got.take(), notification);
      assert.deepEqual(await kept.take(), notification);
      channel.stopListeningForNotification(got);
      await w.sdk.trigger('private-App.Models.User.7', notificationEvent, { n: 2 });
      assert.deepEqual(await kept.take(), { n: 2 });
      assert.deepEqual(got.items, []);
    });

    test('whisper, listenForWhisper and stopListeningForWhisper', limit, async () => {
      const [a, b] = await Promise.all([connected(), connected()]);
      const [one, two] = await Promise.all([a, b].map((echo) => subscribed(echo.private('chat'))));
      const [own, got, kept] = [inbox(), inbox(), inbox()];
      one.listenForWhisper('typing', own);
      two.listenForWhisper('typing', got).listenForWhisper('typing', kept);
      one.whisper('typing', { name: 'Ana' });
      assert.deepEqual(await got.take(), { name: 'Ana' });
      assert.deepEqual(await kept.take(), { name: 'Ana' });

      two.stopListeningForWhisper('typing', got);
      one.whisper('typing', { n: 2 });
      assert.deepEqual(await kept.take(), { n: 2 });
      assert.deepEqual(got.items, []);

      two.whisper('typing', { name: 'Ben' });
      assert.deepEqual(await own.take(), { name: 'Ben' }, 'its own whispers do not come back');
    });

    test('error on a subscription the application refuses', limit, async () => {
      const echo = await connected();
      const [errors, successes] = [inbox(), inbox()];
      echo.private('forbidden').error(errors).subscribed(() => successes('subscribed'));
      const error = await errors.take();
      assert.equal(error.status, 403);
      await subscribed(echo.private('allowed'));
      assert.deepEqual(successes.items, []);
    });

    test('error on a signature the server refuses', limit, async () => {
      const echo = await connected();
      const errors = inbox();
      echo.private('missigned').error(errors);
      assert.equal((await errors.take()).status, 401);
      await subscribed(echo.private('signed'));
    });
  });

  describe('encryptedPrivate', () => {
    test('listen and error', limit, async () => {
      const echo = await connected();
      const [got, errors] = [inbox(), inbox()];
      await subscribed(echo.encryptedPrivate('vault').listen('Opened', got));
      await w.sdk.trigger('private-encrypted-vault', 'App\\Events\\Opened', { pin: 'ç1234' });
      assert.deepEqual(await got.take(), { pin: 'ç1234' });
      echo.encryptedPrivate('forbidden').error(errors);
      assert.equal((await errors.take()).status, 403);
    });

    test('whisper is refused by pusher-js itself', limit, async () => {
      const channel = await subscribed((await connected()).encryptedPrivate('whispers'));
      assert.throws(() => channel.whisper('typing', { name: 'Ana' }), /not currently supported for encrypted/);
    });
  });

  describe('join', () => {
    test('here, joining and leaving', limit, async () => {
      const [a, b] = await Promise.all([connected({ user: ana }), connected({ user: ben })]);
      const [here, joining, leaving] = [inbox(), inbox(), inbox()];
      await subscribed(a.join('room').here(here).joining(joining).leaving(leaving));
      assert.deepEqual(await here.take(), [ana.info]);

      const hereToo = inbox();
      b.join('room').here(hereToo);
      const members = await hereToo.take();
      assert.deepEqual(members.sort((x, y) => x.id - y.id), [ana.info, ben.info]);
      assert.deepEqual(await joining.take(), ben.info);

      b.leave('room');
      assert.deepEqual(await leaving.take(), ben.info);
      b.join('room');
      assert.deepEqual(await joining.take(), ben.info);
      b.disconnect();
      assert.deepEqual(await leaving.take(), ben.info);
    });

    test('listen and whisper', limit, async () => {
      const [a, b] = await Promise.all([connected({ user: ana }), connected({ user: ben })]);
      const [one, two] = await Promise.all([a, b].map((echo) => subscribed(echo.join('whispers'))));
      const [event, whisper] = [inbox(), inbox()];
      two.listen('Moved', event).listenForWhisper('typing', whisper);
      await w.sdk.trigger('presence-whispers', 'App\\Events\\Moved', { x: 1 });
      assert.deepEqual(await event.take(), { x: 1 });
      one.whisper('typing', { at: 2 });
      assert.deepEqual(await whisper.take(), { at: 2 });
    });

    test('error without a user', limit, async () => {
      const errors = inbox();
      (await connected()).join('room').error(errors);
      assert.equal((await errors.take()).status, 403);
    });
  });

  describe('leaving', () => {
    test('leave ends every variant of a channel', limit, async () => {
      const echo = await connected({ user: ana });
      await Promise.all([
        subscribed(echo.channel('gone')),
        subscribed(echo.private('gone')),
        subscribed(echo.encryptedPrivate('gone')),
        subscribed(echo.join('gone')),
        subscribed(echo.channel('stays')),
      ]);
      echo.leave('gone');
      assert.deepEqual(Object.keys(echo.connector.channels), ['stays']);
      for (const prefix of ['', 'private-', 'private-encrypted-', 'presence-']) await vacated(`${prefix}gone`);
      assert.equal((await (await w.sdk.get({ path: '/channels/stays' })).json()).occupied, true);
    });

    test('leaveChannel ends one variant, whose events no longer arrive', limit, async () => {
      const echo = await connected();
      const [left, kept] = [inbox(), inbox()];
      await subscribed(echo.channel('half').listen('E', left));
      await subscribed(echo.private('half').listen('E', kept));
      echo.leaveChannel('half');
      await vacated('half');
      await w.sdk.trigger(['half', 'private-half'], 'App\\Events\\E', { n: 1 });
      assert.deepEqual(await kept.take(), { n: 1 });
      assert.deepEqual(left.items, []);

      await subscribed(echo.channel('half').listen('E', left));
      await w.sdk.trigger('half', 'App\\Events\\E', { n: 2 });
      assert.deepEqual(await left.take(), { n: 2 });
    });

    test('leaveAllChannels ends them all', limit, async () => {
      const echo = await connected({ user: ana });
      await Promise.all([
        subscribed(echo.channel('every')),
        subscribed(echo.private('every')),
        subscribed(echo.join('every')),
      ]);
      echo.leaveAllChannels();
      assert.deepEqual(Object.keys(echo.connector.channels), []);
      for (const prefix of ['', 'private-', 'presence-']) await vacated(`${prefix}every`);
      assert.equal(echo.connectionStatus(), 'connected');
    });
  });

  test('a batch reaches each channel it names', limit, async () => {
    const echo = await connected({ user: ana });
    const [open, closed, room] = [inbox(), inbox(), inbox()];
    await Promise.all([
      subscribed(echo.channel('batch').listen('E', open)),
      subscribed(echo.private('batch').listen('E', closed)),
      subscribed(echo.join('batch').listen('E', room)),
    ]);
    await w.sdk.triggerBatch(['batch', 'private-batch', 'presence-batch']
      .map((channel, n) => ({ channel, name: 'App\\Events\\E', data: { n } })));
    assert.deepEqual([await open.take(), await closed.take(), await room.take()], [{ n: 0 }, { n: 1 }, { n: 2 }]);
  });

  test('signin, and an event for the user', limit, async () => {
    const echo = await connected({ user: ana });
    echo.connector.signin();
    const { user } = echo.connector.pusher;
    await user.signinDonePromise;
    await once(user.serverToUserChannel, 'pusher:subscription_succeeded');
    const greeting = once(user, 'greeting');
    await w.sdk.sendToUser('7', 'greeting', { text: 'Olá' });
    assert.deepEqual((await greeting)[0], { text: 'Olá' });
  });

  test('interceptors send the socket id for toOthers', limit, async () => {
    // Axios as Echo finds it in a page: a global with interceptors.
    let intercept;
    const axios = () => {};
    axios.interceptors = { request: { use: (callback) => { intercept = callback; } } };
    globalThis.axios = axios;
    try {
      const echo = await connected({ withoutInterceptors: false });
      assert.equal(intercept({ headers: {} }).headers['X-Socket-Id'], echo.socketId());
    } finally {
      delete globalThis.axios;
    }
  });
});
