import Echo from 'laravel-echo';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { recover } from '../src/index.js';
import { startWorld, until, type World } from './world.js';

let world: World;
beforeEach(async () => { world = await startWorld(); });
afterEach(() => world.close());

const CHANNELS = ['orders', 'private-orders', 'private-encrypted-orders', 'presence-orders', 'cache-orders'];

test.each(CHANNELS)('%s: missed events arrive once, in order, before later ones', async (name) => {
	const { server, publish } = world;
	const { pusher, recovery, gaps, subscribe } = world.client();
	const { channel, heard } = subscribe(name);
	await until(() => channel.subscribed);
	publish(name, 1);
	await until(() => heard.length === 1);
	const { epoch } = server.position(name);
	expect(recovery.position(name)).toEqual({ epoch, offset: 1 });
	const { socket_id: id } = pusher.connection;

	server.cut();
	publish(name, 2);
	publish(name, 3);
	await until(() => heard.length === 3);
	publish(name, 4);
	await until(() => heard.length === 4);
	expect(heard).toEqual([1, 2, 3, 4]);
	expect(gaps).toEqual([]);
	expect(server.subscriptions.map(({ since }) => since)).toEqual([undefined, { epoch, offset: 1, socket_id: id }]);
	expect(recovery.position(name)).toEqual({ epoch, offset: 4 });
});

test('events that were already received are dropped', async () => {
	const { server, publish } = world;
	const { heard, channel } = world.client().subscribe('orders');
	await until(() => channel.subscribed);
	publish('orders', 1);
	publish('orders', 2);
	server.repeat('orders');
	await until(() => heard.length === 2);
	server.state.overlap = 2;
	server.cut();
	publish('orders', 3);
	publish('orders', 4);
	server.repeat('orders');
	await until(() => heard.includes(4));
	publish('orders', 5);
	await until(() => heard.includes(5));
	expect(heard).toEqual([1, 2, 3, 4, 5]);
});

test('nothing is doubled or lost over 30 interruptions', async () => {
	const { server, publish } = world;
	const { heard, channel } = world.client().subscribe('orders');
	await until(() => channel.subscribed);
	server.state.overlap = 1;
	let n = 0;
	for (let round = 0; round < 30; round += 1) {
		publish('orders', ++n);
		if (round % 2) await until(() => heard.includes(n));
		server.cut();
		publish('orders', ++n);
		await until(() => heard.includes(n));
	}
	expect(heard).toEqual(Array.from({ length: n }, (_, i) => i + 1));
});

test('events that excluded the former connection are not replayed', async () => {
	const { server, publish } = world;
	const { pusher, subscribe } = world.client();
	const { channel, heard } = subscribe('orders');
	await until(() => channel.subscribed);
	const mine = pusher.connection.socket_id;
	server.cut();
	publish('orders', 1, { except: mine });
	publish('orders', 2);
	await until(() => heard.length > 0);
	expect(heard).toEqual([2]);
});

test('a replay that is interrupted continues, without events that excluded the first connection', async () => {
	const { server, publish } = world;
	const { pusher, recovery, gaps, subscribe } = world.client();
	const { channel, heard } = subscribe('orders');
	await until(() => channel.subscribed);
	const mine = pusher.connection.socket_id;
	// `subscription_succeeded` and one event arrive.
	server.state.broken = 2;
	server.cut();
	publish('orders', 1);
	publish('orders', 2);
	publish('orders', 3, { except: mine });
	publish('orders', 4);
	await until(() => heard.includes(4));
	expect(heard).toEqual([1, 2, 4]);
	const { epoch } = server.position('orders');
	expect(server.subscriptions.slice(1).map(({ since }) => since))
		.toEqual([{ epoch, offset: 0, socket_id: mine }, { epoch, offset: 1, socket_id: mine }]);

	// After the replay it is the connection that made it.
	const { socket_id: id } = pusher.connection;
	server.cut();
	publish('orders', 5, { except: id });
	publish('orders', 6);
	await until(() => heard.length === 4);
	expect(heard).toEqual([1, 2, 4, 6]);
	expect(recovery.position('orders')).toEqual({ epoch, offset: 6 });
	expect(gaps).toEqual([]);
});

test('a new subscriber gets the last event of a cache channel, and the others from their position', async () => {
	const { server, publish } = world;
	publish('cache-orders', 1);
	const { recovery, gaps, subscribe } = world.client();
	const { heard } = subscribe('cache-orders');
	await until(() => heard.length === 1);
	expect(recovery.position('cache-orders')).toEqual(server.position('cache-orders'));
	server.cut();
	publish('cache-orders', 2);
	await until(() => heard.length === 2);
	expect(gaps).toEqual([]);

	// After a gap as well.
	server.state.replayed = 0;
	server.cut();
	publish('cache-orders', 3);
	await until(() => heard.length === 3);
	expect(heard).toEqual([1, 2, 3]);
	expect(gaps).toEqual([{ channel: 'cache-orders', reason: 'too_many' }]);
});

test('disconnect() and connect() resume too', async () => {
	const { publish } = world;
	const { pusher, subscribe } = world.client();
	const { channel, heard } = subscribe('orders');
	await until(() => channel.subscribed);
	pusher.disconnect();
	publish('orders', 1);
	pusher.connect();
	await until(() => heard.length === 1);
});

test('a channel that was left starts afresh', async () => {
	const { server, publish } = world;
	const { pusher, recovery, subscribe } = world.client();
	const first = subscribe('orders');
	await until(() => first.channel.subscribed);
	publish('orders', 1);
	await until(() => first.heard.length === 1);

	pusher.unsubscribe('orders');
	expect(recovery.position('orders')).toBeUndefined();
	await until(() => server.left.length === 1);
	publish('orders', 2);
	const second = subscribe('orders');
	await until(() => second.channel.subscribed);

	// The same without a connection.
	pusher.disconnect();
	pusher.unsubscribe('orders');
	publish('orders', 3);
	const third = subscribe('orders');
	pusher.connect();
	await until(() => third.channel.subscribed);

	// And before the subscription is accepted.
	pusher.unsubscribe('orders');
	server.state.isHeld = true;
	subscribe('orders');
	await until(() => server.subscriptions.length === 4);
	pusher.unsubscribe('orders');
	server.release();
	await until(() => !pusher.channel('orders'));
	const last = subscribe('orders');
	await until(() => last.channel.subscribed);
	publish('orders', 4);
	await until(() => last.heard.length === 1);

	expect([second.heard, third.heard, last.heard]).toEqual([[], [], [4]]);
	expect(server.subscriptions.map(({ since }) => since)).toEqual(Array(5).fill(undefined));
});

test('clients of one page have their own positions', async () => {
	const { server, publish } = world;
	const [one, two] = [world.client(), world.client()];
	const [first, second] = [one.subscribe('orders'), two.subscribe('orders')];
	await until(() => first.channel.subscribed && second.channel.subscribed);
	two.pusher.disconnect();
	publish('orders', 1);
	await until(() => first.heard.length === 1);
	expect(two.recovery.position('orders')!.offset).toBe(0);
	two.pusher.connect();
	server.cut();
	await until(() => second.heard.length === 1);
	expect(first.heard).toEqual([1]);
});

test('works with Echo and its option client', async () => {
	const { server, publish } = world;
	const client = world.pusher();
	const recovery = recover(client);
	const echo = new Echo({ broadcaster: 'reverb', key: 'key', client, withoutInterceptors: true });
	expect(recover(echo)).toBe(recovery);
	const heard: unknown[] = [];
	echo.private('orders').listen('.numbered', (event: unknown) => heard.push(event))
		.listen('.clarim:gap', (gap: unknown) => heard.push(gap));
	await until(() => client.channel('private-orders')?.subscribed);
	server.cut();
	publish('private-orders', 1);
	await until(() => heard.length === 1);
	server.forget();
	server.cut();
	await until(() => heard.length === 2);
	expect(heard).toEqual([{ n: 1 }, expect.objectContaining({ reason: 'epoch' })]);
	echo.leave('orders');
	expect(recovery.position('private-orders')).toBeUndefined();
});

test('the members of a presence channel are those of the new subscription', async () => {
	const { server } = world;
	const { channel } = world.client().subscribe('presence-orders');
	const seen: number[] = [];
	channel.bind('pusher:subscription_succeeded', ({ count }: { count: number }) => seen.push(count));
	await until(() => seen.length === 1);
	server.cut();
	await until(() => seen.length === 2);
	expect(seen).toEqual([1, 1]);
});

test('the channel of a signed-in user resumes', async () => {
	const { server, publish } = world;
	const { pusher } = world.client();
	const heard: unknown[] = [];
	pusher.user.bind('numbered', ({ n }: { n: number }) => heard.push(n));
	pusher.signin();
	await until(() => server.subscriptions.length === 1);
	await until(() => pusher.user.serverToUserChannel?.subscribed);
	server.cut();
	publish('#server-to-user-7', 1);
	await until(() => heard.length === 1);
});

test('can be added to a client that is connected', async () => {
	const { server, publish } = world;
	const client = world.pusher();
	await until(() => client.connection.state === 'connected');
	recover(client);
	const channel = client.subscribe('orders');
	const heard: number[] = [];
	channel.bind('numbered', ({ n }: { n: number }) => heard.push(n));
	await until(() => channel.subscribed);
	server.cut();
	publish('orders', 1);
	await until(() => heard.length === 1);
});

test('a page receives events since the position that its backend read', async () => {
	const { server, publish } = world;
	publish('orders', 1);
	// The backend reads the position, then the data. The page subscribes later.
	const position = server.position('orders');
	publish('orders', 2);
	const { recovery, gaps, subscribe } = world.client();
	recovery.since('orders', position);
	const { heard, channel } = subscribe('orders');
	await until(() => channel.subscribed);
	publish('orders', 3);
	await until(() => heard.includes(3));
	expect(heard).toEqual([2, 3]);
	expect(gaps).toEqual([]);
});

test('other frames are passed on as they are', async () => {
	const { server } = world;
	const { heard, channel } = world.client().subscribe('plain-orders');
	const odd: unknown[] = [];
	channel.bind('odd', (data: unknown) => odd.push(data));
	await until(() => channel.subscribed);
	// Data that looks like positions.
	server.publish('plain-orders', 'odd', { offset: 1, epoch: 'x' });
	server.publish('plain-orders', 'odd', '"offset":1');
	server.publish('plain-orders', 'odd', '"clarim:gap"');
	await until(() => odd.length === 3);
	expect(odd).toEqual([{ offset: 1, epoch: 'x' }, '"offset":1', '"clarim:gap"']);
	expect(heard).toEqual([]);
});
