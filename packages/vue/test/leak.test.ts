import { nextTick, ref } from 'vue';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
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
	const { whisper } = useWhisper<{ name: string }>(channel, 'typing');
	useNotifications('App.Models.User.1', { load: async () => [], onNotification: () => {} });
	useModel('App.Models.Order', 1, { events: { Updated: () => {} } });
	useUser({ events: { OrderShipped: () => {} }, online: () => {} });
	useWebSocketStatus();
	return { name, channel, whisper };
};

/** The pending timers of whispers. */
function whisperTimers(): Set<unknown> {
	const [set, clear] = [globalThis.setTimeout, globalThis.clearTimeout];
	const pending = new Set<unknown>();
	vi.spyOn(globalThis, 'setTimeout').mockImplementation(((work: () => void, after?: number) => {
		const isWhispers = new Error().stack?.includes('channel/whisper') ?? false;
		const timer = set(() => {
			pending.delete(timer);
			work();
		}, after);
		if (isWhispers) pending.add(timer);
		return timer;
	}) as typeof setTimeout);
	vi.spyOn(globalThis, 'clearTimeout').mockImplementation(((timer: ReturnType<typeof setTimeout>) => {
		pending.delete(timer);
		clear(timer);
	}) as typeof clearTimeout);
	return pending;
}

test('1 000 rounds of mounting and unmounting leave nothing behind', async () => {
	const echo = world.browser({ id: 1, info: { name: 'Ana' } });
	await state(echo, 'connected');
	// The connection signs in once.
	const { result: { isSignedIn }, unmount: leave } = world.run(echo, () => useUser());
	await until(() => isSignedIn.value);
	leave();
	const before = boundHandlers(echo);
	const timers = whisperTimers();
	const first = world.run(echo, everything);
	expect(boundHandlers(echo)).toBeGreaterThan(before + 20);
	first.unmount();
	// Another client stays on the channel, so that each round sends and receives whispers.
	const other = world.run(echo, () => usePrivateChannel('orders.1'));
	await until(() => other.result.value?.subscription.subscribed);
	let most = 0;

	for (let round = 0; round < 1000; round += 1) {
		const { result: { name, channel, whisper }, unmount } = world.run(echo, everything);
		channel.value?.subscription.emit('client-typing', { name: 'Bruno' });
		// Stays below the server's rate limit per second.
		if (round % 100 === 0) expect(whisper({ name: 'Ana' })).toBe(true);
		most = Math.max(most, timers.size);
		// Sometimes with another name, and with time for deferred work.
		if (round % 3 === 0) name.value = 'orders.2';
		if (round % 10 === 0) await nextTick();
		unmount();
	}
	expect(most).toBeGreaterThan(1);
	expect(timers.size).toBe(0);
	other.unmount();
	// Pending subscriptions are cancelled after they have been accepted.
	await until(() => echo.connector.pusher.allChannels().length === 0, { timeout: 60_000 });
	await world.occupied('#server-to-user-1');
	expect(boundHandlers(echo)).toBe(before);
	expect(echo.connector.channels).toEqual({});
	vi.restoreAllMocks();
}, 120_000);
