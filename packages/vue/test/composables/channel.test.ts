import { nextTick, ref } from 'vue';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { useChannel, useEncryptedChannel, usePrivateChannel, useSubscription } from '../../src/index.js';
import { boundHandlers, startWorld, state, until, type World } from '../world.js';

let world: World;
beforeAll(async () => { world = await startWorld(); });
afterEach(() => world.clear());
afterAll(() => world.close());

const send = (channel: string, order: number) => world.sdk.trigger(channel, 'App\\Events\\OrderShipped', { order });

/** A component's setup that records the orders it receives. */
const listening = (name: Parameters<typeof useChannel>[0], heard: number[]) => () =>
	useChannel(name, { OrderShipped: ({ order }) => heard.push(order) });

test.each([
	['useChannel', 'orders', useChannel],
	['usePrivateChannel', 'private-orders', usePrivateChannel],
	['useEncryptedChannel', 'private-encrypted-orders', useEncryptedChannel],
])('%s hears the events of its channel, by Echo\'s names and by those on the wire', async (_, wire, composable) => {
	const heard: object[] = [];
	const { result } = world.run(world.browser(), () => composable('orders', {
		OrderShipped: (event) => heard.push(event),
		'.order.paid': (event) => heard.push(event),
	}));
	await world.occupied(wire);
	expect(result.value?.name).toBe(wire);
	await send(wire, 7);
	await world.sdk.trigger(wire, 'order.paid', { order: 8 });
	await until(() => heard.length === 2);
	expect(heard).toEqual([{ order: 7 }, { order: 8 }]);
});

describe('a reactive name', () => {
	test('switches from the old channel to the new one, with the listeners', async () => {
		const [id, heard] = [ref(1), [] as number[]];
		const { result } = world.run(world.browser(), listening(() => `orders.${id.value}`, heard));
		await world.occupied('orders.1');
		await send('orders.1', 1);
		await until(() => heard.length === 1);
		const old = result.value!;

		id.value = 2;
		await world.occupied('orders.2');
		expect(result.value?.name).toBe('orders.2');
		// The listeners of the old channel are gone, even if another holder subscribes to it again.
		expect(Object.keys(old.subscription.callbacks._callbacks)).toEqual([]);
		await send('orders.1', 10);
		await send('orders.2', 2);
		await until(() => heard.length === 2);
		expect(heard).toEqual([1, 2]);

		id.value = 1;
		await world.occupied('orders.1');
		await send('orders.1', 3);
		await until(() => heard.length === 3);
		expect(heard).toEqual([1, 2, 3]);
	});

	test('does not subscribe while the name is null', async () => {
		const [id, heard] = [ref<number | null>(null), [] as number[]];
		const echo = world.browser();
		const { result } = world.run(echo, listening(() => id.value && `orders.${id.value}`, heard));
		await state(echo, 'connected');
		expect(result.value).toBeNull();
		expect(echo.connector.channels).toEqual({});
		id.value = 5;
		await world.occupied('orders.5');
		id.value = null;
		await world.occupied();
		expect(result.value).toBeNull();
	});

	test('subscribes once when a ref changes back and forth within a tick', async () => {
		const name = ref('orders.1');
		world.run(world.browser(), () => usePrivateChannel(name));
		await world.occupied('private-orders.1');
		name.value = 'orders.2';
		name.value = 'orders.1';
		await nextTick();
		expect(world.auth.requests.length).toBe(1);
	});
});

describe('several components on one channel', () => {
	test('share one subscription; each removes only its own listeners, and the last unsubscribes', async () => {
		const echo = world.browser();
		const [first, second] = [[] as number[], [] as number[]];
		const a = world.run(echo, listening('orders', first));
		const b = world.run(echo, listening('orders', second));
		await world.occupied('orders');
		await send('orders', 1);
		await until(() => first.length === 1 && second.length === 1);

		a.unmount();
		await send('orders', 2);
		await until(() => second.length === 2);
		expect(first).toEqual([1]);
		expect(await world.channels()).toEqual(['orders']);

		b.unmount();
		await world.occupied();
	});

	test('may listen with the same function', async () => {
		const echo = world.browser();
		const heard: number[] = [];
		const events = { OrderShipped: ({ order }: { order: number }) => { heard.push(order); } };
		const a = world.run(echo, () => useChannel('orders', events));
		world.run(echo, () => useChannel('orders', events));
		await world.occupied('orders');
		await send('orders', 1);
		await until(() => heard.length === 2);
		a.unmount();
		await send('orders', 2);
		await send('orders', 3);
		await until(() => heard.includes(3));
		expect(heard).toEqual([1, 1, 2, 3]);
	});

	test('keep the subscription when one component replaces another', async () => {
		const echo = world.browser();
		const page = world.run(echo, () => usePrivateChannel('orders'));
		await world.occupied('private-orders');
		page.unmount();
		const next = world.run(echo, () => usePrivateChannel('orders'));
		await nextTick();
		expect(next.result.value?.subscription.subscribed).toBe(true);
		expect(world.auth.requests.length).toBe(1);
	});

	test('an unmounted component receives nothing, not even the event being delivered', async () => {
		const echo = world.browser();
		const heard: string[] = [];
		const second = { unmount: () => {} };
		world.run(echo, () => useChannel('orders', {
			OrderShipped: () => {
				heard.push('first');
				second.unmount();
			},
		}));
		const { unmount } = world.run(echo, () => useChannel('orders', { OrderShipped: () => heard.push('second') }));
		second.unmount = unmount;
		await world.occupied('orders');
		await send('orders', 1);
		await send('orders', 2);
		await until(() => heard.length >= 2);
		expect(heard).toEqual(['first', 'first']);
	});
});

describe('alongside Echo', () => {
	test('a subscription made with Echo is kept', async () => {
		const echo = world.browser();
		echo.channel('orders');
		await world.occupied('orders');
		const handlers = boundHandlers(echo);
		const { unmount } = world.run(echo, listening('orders', []));
		expect(boundHandlers(echo)).toBeGreaterThan(handlers);
		unmount();
		await nextTick();
		expect(boundHandlers(echo)).toBe(handlers);
		expect(Object.keys(echo.connector.channels)).toEqual(['orders']);
	});

	test('the next component resubscribes after Echo.leave()', async () => {
		const echo = world.browser();
		const [first, second] = [[] as number[], [] as number[]];
		const a = world.run(echo, listening('orders', first));
		await world.occupied('orders');
		echo.leave('orders');
		await world.occupied();
		const b = world.run(echo, listening('orders', second));
		await world.occupied('orders');
		a.unmount();
		await nextTick();
		await send('orders', 1);
		await until(() => second.length === 1);
		b.unmount();
		await world.occupied();
	});
});

describe('a pending subscription', () => {
	test('is cancelled after it has been accepted', async () => {
		const echo = world.browser();
		await state(echo, 'connected');
		const { unmount } = world.run(echo, () => usePrivateChannel('orders'));
		expect(echo.connector.pusher.channel('private-orders').subscriptionPending).toBe(true);
		unmount();
		await until(() => echo.connector.pusher.allChannels().length === 0);
		expect(echo.connector.channels).toEqual({});
		await world.occupied();
	});

	test.each(['orders', 'forbidden'])('and is lost or refused (%s), does not come back', async (name) => {
		const echo = world.browser();
		const { pusher } = echo.connector;
		await state(echo, 'connected');
		const handlers = boundHandlers(echo);
		world.run(echo, () => usePrivateChannel(name)).unmount();
		await nextTick();
		expect(pusher.allChannels().length).toBe(1);
		// Waits for the rejection; the connection breaks before the response to the other subscription.
		if (name === 'forbidden') await until(() => pusher.allChannels().length === 0);
		pusher.disconnect();
		expect(pusher.allChannels()).toEqual([]);
		pusher.connect();
		await state(echo, 'connected');
		expect(await world.channels()).toEqual([]);
		expect(boundHandlers(echo)).toBe(handlers);
	});

	test('is kept if another component needs the channel in the meantime', async () => {
		const echo = world.browser();
		await state(echo, 'connected');
		world.run(echo, () => usePrivateChannel('orders')).unmount();
		await nextTick();
		const { result } = world.run(echo, () => usePrivateChannel('orders'));
		await world.occupied('private-orders');
		await until(() => result.value?.subscription.subscribed);
		expect(world.auth.requests.length).toBe(1);
	});
});

test('reports a rejection, and the next component tries again', async () => {
	const echo = world.browser();
	const subscribing = () => useSubscription(usePrivateChannel('forbidden'));
	const { result: { error, isSubscribed, retry } } = world.run(echo, subscribing);
	await until(() => error.value);
	expect(error.value).toMatchObject({ type: 'AuthError', status: 403 });
	expect(isSubscribed.value).toBe(false);
	world.run(echo, subscribing);
	await until(() => world.auth.requests.length === 2);
	retry();
	await until(() => world.auth.requests.length === 3);
});

test('an expired token is renewed', async () => {
	let user = 'null';
	const echo = world.browser(undefined, {
		channelAuthorization: {
			transport: 'ajax', endpoint: `${world.auth.endpoint}?expires`, headersProvider: () => ({ 'X-User': user }),
		},
		authorization: { refresh: () => { user = '{"id": 7}'; } },
	});
	const { result: { isSubscribed, error } } = world.run(echo, () => useSubscription(usePrivateChannel('orders')));
	await until(() => isSubscribed.value);
	expect(error.value).toBeNull();
	expect(world.auth.requests.length).toBe(2);
});

test.each([['an endpoint', 'ajax'], ['a handler of the application', 'handler']])(
	'subscribes once %s is back that was away after a reconnect', async (_, kind) => {
		const { config } = world.browser().connector.pusher;
		const customHandler: typeof config.channelAuthorizer = (params, done) => config.channelAuthorizer(params, (error, data) => {
			done(error && new Error('away'), data);
		});
		const echo = world.browser(undefined, kind === 'handler' ? { channelAuthorization: { customHandler } } : {});
		await state(echo, 'connected');
		const { result: { isSubscribed, error } } = world.run(echo, () => useSubscription(usePrivateChannel('orders')));
		await until(() => isSubscribed.value);
		world.auth.isAway = true;
		echo.connector.pusher.disconnect();
		echo.connector.pusher.connect();
		await until(() => error.value);
		const asked = world.auth.requests.length;
		await until(() => world.auth.requests.length > asked);
		expect(isSubscribed.value).toBe(false);
		world.auth.isAway = false;
		await until(() => isSubscribed.value);
		expect(error.value).toBeNull();
	},
);

test('an abandoned subscription is not retried', async () => {
	const echo = world.browser();
	await state(echo, 'connected');
	world.auth.isAway = true;
	vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
	try {
		const { result: { error }, unmount } = world.run(echo, () => useSubscription(usePrivateChannel('orders')));
		await vi.waitUntil(() => error.value, { timeout: 30_000 });
		unmount();
		await nextTick();
		const asked = world.auth.requests.length;
		await vi.advanceTimersByTimeAsync(100_000);
		expect(world.auth.requests.length).toBe(asked);
	} finally {
		vi.useRealTimers();
		world.auth.isAway = false;
	}
});
