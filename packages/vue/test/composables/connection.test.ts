import { watch } from 'vue';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type Interruption, usePrivateChannel, useSubscription, useWebSocketStatus } from '../../src/index.js';
import { startWorld, state, until, type World } from '../world.js';

let world: World;
beforeAll(async () => { world = await startWorld(); });
afterEach(async () => {
	await world.server.start();
	await world.clear();
});
afterAll(() => world.close());

test('the status has pusher-js\'s names', async () => {
	const echo = world.browser();
	const { result: { isConnected, connectionState } } = world.run(echo, useWebSocketStatus);
	expect(connectionState.value).toBe('connecting');
	expect(isConnected.value).toBe(false);
	await state(echo, 'connected');
	expect(connectionState.value).toBe('connected');
	expect(isConnected.value).toBe(true);
	// A later component starts with the current state.
	expect(world.run(echo, useWebSocketStatus).result.isConnected.value).toBe(true);
	echo.disconnect();
	expect(connectionState.value).toBe('disconnected');
	expect(isConnected.value).toBe(false);
});

test('the status follows the server', async () => {
	const states: string[] = [];
	const { result: { isConnected } } = world.run(world.browser(), () => {
		const status = useWebSocketStatus();
		watch(status.connectionState, (now) => states.push(now), { flush: 'sync' });
		return status;
	});
	await until(() => isConnected.value);
	states.length = 0;
	await world.server.kill();
	await world.server.start();
	await until(() => states.length === 2, { timeout: 18_000 });
	expect(states).toEqual(['connecting', 'connected']);
}, 30_000);

test('reports the interruption after a reconnection, and receives all later events', async () => {
	const echo = world.browser();
	const [interruptions, heard] = [[] as Interruption[], [] as number[]];
	const { result: { isSubscribed } } = world.run(echo, () => {
		const channel = usePrivateChannel('orders', { '.shipped': ({ order }) => heard.push(order) });
		return useSubscription(channel, (interruption) => {
			interruptions.push(interruption);
			void world.sdk.trigger('private-orders', 'shipped', { order: 3 });
		});
	});
	await until(() => isSubscribed.value);
	expect(interruptions).toEqual([]);
	await world.sdk.trigger('private-orders', 'shipped', { order: 1 });
	await until(() => heard.length === 1);
	const last = Date.now();

	echo.connector.pusher.disconnect();
	expect(isSubscribed.value).toBe(false);
	await world.occupied();
	await world.sdk.trigger('private-orders', 'shipped', { order: 2 });
	echo.connector.pusher.connect();
	await until(() => heard.length === 2);
	expect(heard).toEqual([1, 3]);
	expect(interruptions.length).toBe(1);
	expect(interruptions[0]!.since.getTime()).toBeLessThanOrEqual(last);
	expect(isSubscribed.value).toBe(true);
});
