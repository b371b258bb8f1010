import { afterEach, beforeEach, expect, test } from 'vitest';
import { recover, type Gap } from '../src/index.js';
import { startWorld, until, type World } from './world.js';

let world: World;
beforeEach(async () => { world = await startWorld(); });
afterEach(() => world.close());

const NAMES = ['orders', 'private-encrypted-orders', 'presence-orders'];
const CASES: Record<string, (w: World, name: string) => void> = {
	expired({ server, publish }, name) {
		server.state.kept = 2;
		for (const n of [2, 3, 4]) publish(name, n);
	},
	too_many({ server, publish }, name) {
		server.state.replayed = 2;
		for (const n of [2, 3, 4]) publish(name, n);
	},
	epoch({ server }) {
		server.forget();
	},
};

for (const [reason, interruption] of Object.entries(CASES)) {
	test.each(NAMES)(`%s: a gap (${reason}) is reported once, and later events arrive`, async (name) => {
		const { server, publish } = world;
		const { gaps, subscribe } = world.client();
		const { channel, heard } = subscribe(name);
		const onChannel: unknown[] = [];
		channel.bind('clarim:gap', (data: unknown) => onChannel.push(data));
		await until(() => channel.subscribed);
		publish(name, 1);
		await until(() => heard.length === 1);
		server.cut();
		interruption(world, name);
		await until(() => gaps.length === 1);
		publish(name, 5);
		await until(() => heard.length === 2);
		expect(heard).toEqual([1, 5]);
		expect(gaps).toEqual([{ channel: name, reason }]);
		expect(onChannel).toEqual([expect.objectContaining({ reason })]);

		// The gap is over.
		server.cut();
		publish(name, 6);
		await until(() => heard.length === 3);
		expect(gaps.length).toBe(1);
	});
}

test('a position that the server does not know is a gap', async () => {
	const { server, publish } = world;
	publish('orders', 1);
	const { recovery, gaps, subscribe } = world.client();
	recovery.since('orders', { ...server.position('orders'), offset: 99 });
	const { heard } = subscribe('orders');
	await until(() => gaps.length === 1);
	expect(gaps).toEqual([{ channel: 'orders', reason: 'unknown' }]);
	publish('orders', 2);
	await until(() => heard.length === 1);
});

test('after a gap in a subscription the first events of another history arrive', async () => {
	const { server, publish } = world;
	const { gaps, subscribe } = world.client();
	const { channel, heard } = subscribe('orders');
	await until(() => channel.subscribed);
	for (const n of [1, 2, 3]) publish('orders', n);
	await until(() => heard.length === 3);
	server.forget();
	server.gap('orders', { reason: 'bus' });
	publish('orders', 4);
	await until(() => heard.length === 4);

	// With its position, the new history is resumed.
	server.forget();
	server.gap('orders', { reason: 'epoch', ...server.position('orders') });
	server.cut();
	publish('orders', 5);
	await until(() => heard.length === 5);
	expect(heard).toEqual([1, 2, 3, 4, 5]);
	expect(gaps.map(({ reason }) => reason)).toEqual(['bus', 'epoch']);
});

test('a gap is not lost if the connection breaks before it arrives', async () => {
	const { server, publish } = world;
	const { recovery, gaps, subscribe } = world.client();
	const { channel, heard } = subscribe('orders');
	await until(() => channel.subscribed);
	publish('orders', 1);
	await until(() => heard.length === 1);
	const position = recovery.position('orders');
	server.state.kept = 2;
	for (const n of [2, 3]) {
		// Only `subscription_succeeded` arrives.
		server.state.broken = 1;
		server.cut();
		for (let i = 0; i < 3; i += 1) publish('orders', 9);
		await until(() => server.subscriptions.length === n * 2 - 1);
		await until(() => gaps.length === n - 1);
		publish('orders', n);
		await until(() => heard.length === n);
		const named = server.subscriptions.slice(-2).map(({ since }) => since);
		expect(named[0]).toBeDefined();
		expect(named[1]).toEqual(named[0]);
		if (n === 2) expect(named[0]).toEqual(expect.objectContaining(position));
	}
	expect(heard).toEqual([1, 2, 3]);
	expect(gaps.map(({ reason }) => reason)).toEqual(['expired', 'expired']);
});

test('an event instead of the announced gap is one', async () => {
	const { server, publish } = world;
	const { recovery, gaps, subscribe } = world.client();
	server.state.isHeld = true;
	const { heard } = subscribe('orders');
	await until(() => server.subscriptions.length === 1);
	// Too late for this subscription.
	recovery.since('orders', server.position('orders'));
	publish('orders', 1);
	server.release();
	publish('orders', 2);
	await until(() => heard.length === 1);
	expect(gaps).toEqual([{ channel: 'orders', reason: 'unknown' }]);
	server.cut();
	publish('orders', 3);
	await until(() => heard.length === 2);
	expect(heard).toEqual([2, 3]);
	expect(gaps.length).toBe(1);
});

test('a history that begins during an interruption is a gap', async () => {
	const { server, publish } = world;
	const { recovery, gaps, subscribe } = world.client();
	const { channel, heard } = subscribe('plain-orders');
	await until(() => channel.subscribed);
	server.cut();
	server.state.plain = /^none/;
	publish('plain-orders', 1);
	await until(() => gaps.length === 1);
	expect(gaps).toEqual([{ channel: 'plain-orders', reason: 'no_history' }]);
	expect(recovery.position('plain-orders')).toEqual(server.position('plain-orders'));

	// From now on it has a position.
	server.cut();
	publish('plain-orders', 2);
	await until(() => heard.length === 1);
	expect(heard).toEqual([2]);
	expect(gaps.length).toBe(1);
});

test('without history an interruption is a gap, but the first subscription is not', async () => {
	const { server, publish } = world;
	const { pusher, gaps, subscribe } = world.client();
	const { channel, heard } = subscribe('plain-orders');
	await until(() => channel.subscribed);
	expect(gaps).toEqual([]);
	server.cut();
	await until(() => gaps.length === 1);
	expect(gaps).toEqual([{ channel: 'plain-orders', reason: 'no_history' }]);
	// It is reported after the subscription: what is published now arrives.
	expect(channel.subscribed).toBe(true);
	publish('plain-orders', 1);
	await until(() => heard.length === 1);

	pusher.unsubscribe('plain-orders');
	const again = subscribe('plain-orders');
	await until(() => again.channel.subscribed);
	expect(gaps.length).toBe(1);
});

test('the first interruption of a channel that was subscribed before the plug-in was added is a gap', async () => {
	const client = world.pusher();
	const channels = ['orders', 'plain-orders'].map((name) => client.subscribe(name));
	await until(() => channels.every(({ subscribed }) => subscribed));
	const gaps: Gap[] = [];
	recover(client, { onGap: (gap) => gaps.push(gap) });
	world.server.cut();
	await until(() => gaps.length === 2);
	expect(gaps.map(({ reason }) => reason)).toEqual(['no_history', 'no_history']);
	world.server.cut();
	await until(() => gaps.length === 3);
	expect(gaps[2]!.channel).toBe('plain-orders');
});

test('a position for a channel without history is a gap', async () => {
	const { recovery, gaps, subscribe } = world.client();
	recovery.since('plain-orders', { epoch: 'e1', offset: 3 });
	subscribe('plain-orders');
	await until(() => gaps.length === 1);
	expect(gaps[0]!.reason).toBe('no_history');
});

test('a listener is removed by itself', async () => {
	const { server } = world;
	const { recovery, gaps, subscribe } = world.client();
	const seen: Gap[] = [];
	const listener = (gap: Gap): void => void seen.push(gap);
	const [first, second] = [recovery.onGap(listener), recovery.onGap(listener)];
	const { channel } = subscribe('plain-orders');
	await until(() => channel.subscribed);
	first();
	server.cut();
	await until(() => gaps.length === 1);
	expect(seen.length).toBe(1);
	second();
	server.cut();
	await until(() => gaps.length === 2);
	expect(seen.length).toBe(1);
});
