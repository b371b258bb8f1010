import { nextTick, ref } from 'vue';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
	useChannel, useEncryptedChannel, useModel, useNotifications, usePresenceChannel, usePrivateChannel,
	useSubscription, useUser, useWebSocketStatus, useWhisper,
} from '../src/index.js';
import { boundHandlers, startWorld, state, until, type World } from './world.js';

let world: World;
beforeAll(async () => { world = await startWorld(); });
afterAll(async () => {
	await world.clear();
	await world.close();
});

const everything = () => {
	const name = ref('orders.1');
	useChannel(name, { OrderShipped: () => {} });
	useEncryptedChannel(name, { OrderShipped: () => {} });
	const channel = usePrivateChannel(name, { OrderShipped: () => {} });
	usePresenceChannel(name, { here: () => {}, events: { OrderShipped: () => {} } });
	useSubscription(channel, () => {});
	useWhisper(channel, 'typing');
	useNotifications('App.Models.User.1', { onNotification: () => {} });
	useModel('App.Models.Order', 1, { events: { Updated: () => {} } });
	useUser({ when: false, events: { OrderShipped: () => {} }, online: () => {} });
	useWebSocketStatus();
	return name;
};

test('1 000 rounds of mounting and unmounting leave nothing behind', async () => {
	const echo = world.browser({ id: 1, info: { name: 'Ana' } });
	await state(echo, 'connected');
	const before = boundHandlers(echo);
	const first = world.run(echo, everything);
	expect(boundHandlers(echo)).toBeGreaterThan(before + 20);
	first.unmount();

	for (let round = 0; round < 1000; round += 1) {
		const { result: name, unmount } = world.run(echo, everything);
		// Now and then with another name, and with time for what is to be done later.
		if (round % 3 === 0) name.value = 'orders.2';
		if (round % 10 === 0) await nextTick();
		unmount();
	}
	// What was still on its way is left when it has arrived.
	await until(() => echo.connector.pusher.allChannels().length === 0, { timeout: 60_000 });
	await world.occupied();
	expect(boundHandlers(echo)).toBe(before);
	expect(echo.connector.channels).toEqual({});
}, 120_000);
