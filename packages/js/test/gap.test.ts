import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Gap } from '../src/index.js';
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
