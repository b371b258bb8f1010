import { ref } from 'vue';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { useNotifications, type Notification } from '../../src/index.js';
import { startWorld, state, until, type World } from '../world.js';

let world: World;
beforeAll(async () => { world = await startWorld(); });
afterEach(() => world.clear());
afterAll(() => world.close());

interface Invoice { message: string }
type Stored = Notification<Invoice>;

const EVENT = 'Illuminate\\Notifications\\Events\\BroadcastNotificationCreated';
const TYPE = 'App\\Notifications\\InvoicePaid';

const stored = (id: string, read_at: string | null = null): Stored => ({ id, type: TYPE, message: id, read_at });
const push = (id: string, user = 1) =>
	world.sdk.trigger(`private-App.Models.User.${user}`, EVENT, { id, type: TYPE, message: id });
const ids = (list: readonly Stored[]) => list.map(({ id }) => id).join();

test('lists stored and pushed notifications, newest first, without duplicates, with a toast per pushed one', async () => {
	const toasts: string[] = [];
	const { result } = world.run(world.browser(), () => useNotifications<Invoice>('App.Models.User.1', {
		load: async () => [stored('b'), stored('a', '2026-01-01')],
		onNotification: ({ message }) => toasts.push(message),
	}));
	await until(() => result.notifications.value.length === 2);
	expect(result.unread.value).toBe(1);
	await push('b');
	await push('c');
	await until(() => result.notifications.value.length === 3);
	expect(ids(result.notifications.value)).toBe('c,b,a');
	expect(result.unread.value).toBe(2);
	expect(toasts).toEqual(['c']);
});

test('loads only after the subscription, so that nothing is missed', async () => {
	const answers: ((list: Stored[]) => void)[] = [];
	const { result } = world.run(world.browser(), () => useNotifications<Invoice>('App.Models.User.1', {
		load: () => new Promise((resolve) => { answers.push(resolve); }),
	}));
	await until(() => answers.length === 1);
	expect(result.channel.value?.subscription.subscribed).toBe(true);
	expect(result.isLoading.value).toBe(true);
	// Pushed during the request.
	await push('c');
	await until(() => result.notifications.value.length === 1);
	await result.markRead('c');
	answers[0]!([stored('b'), stored('a')]);
	await until(() => !result.isLoading.value);
	expect(ids(result.notifications.value)).toBe('c,b,a');
	expect(result.unread.value).toBe(2);
});

test('marks one or all as read and saves once', async () => {
	const saved: string[][] = [];
	const { result } = world.run(world.browser(), () => useNotifications<Invoice>('App.Models.User.1', {
		load: async () => [stored('c'), stored('b'), stored('a')],
		save: async (read) => { saved.push(read); },
	}));
	await until(() => result.unread.value === 3);
	await result.markRead('b');
	await result.markRead('b');
	expect(result.unread.value).toBe(2);
	await result.markAllRead();
	expect(result.unread.value).toBe(0);
	expect(saved).toEqual([['b'], ['c', 'a']]);
});

test('a failed save makes them unread again', async () => {
	const { result } = world.run(world.browser(), () => useNotifications<Invoice>('App.Models.User.1', {
		load: async () => [stored('b'), stored('a')],
		save: () => Promise.reject(new Error('503')),
	}));
	await until(() => result.unread.value === 2);
	result.setRead(['a']);
	const marking = result.markAllRead();
	expect(result.unread.value).toBe(0);
	await expect(marking).rejects.toThrow('503');
	expect(result.notifications.value.map(({ id, read_at: at }) => [id, Boolean(at)])).toEqual([['b', false], ['a', true]]);
});

test('after a lost connection lists missed notifications above those that the backend no longer lists', async () => {
	let list = [stored('b'), stored('a')];
	const echo = world.browser();
	const { result } = world.run(echo, () => useNotifications<Invoice>('App.Models.User.1', { load: async () => list }));
	await until(() => result.notifications.value.length === 2);
	await result.markRead('b');
	echo.connector.pusher.disconnect();
	list = [stored('c'), stored('b')];
	echo.connector.pusher.connect();
	await until(() => result.notifications.value.length === 3);
	expect(ids(result.notifications.value)).toBe('c,b,a');
	expect(result.unread.value).toBe(2);
});

test('switches to another user and discards a late response for the first', async () => {
	const user = ref(1);
	const answers = new Map<number, (list: Stored[]) => void>();
	const { result } = world.run(world.browser(), () => useNotifications<Invoice>(() => `App.Models.User.${user.value}`, {
		load: () => new Promise((resolve) => { answers.set(user.value, resolve); }),
	}));
	await until(() => answers.has(1));
	user.value = 2;
	await until(() => answers.has(2));
	answers.get(1)!([stored('of 1')]);
	answers.get(2)!([stored('of 2')]);
	await until(() => result.notifications.value.length > 0);
	expect(ids(result.notifications.value)).toBe('of 2');
});

test('shows stored notifications without a connection, and reports a failed load', async () => {
	const echo = world.browser();
	echo.disconnect();
	await state(echo, 'disconnected');
	const problems = [new Error('503')];
	const { result } = world.run(echo, () => useNotifications<Invoice>('App.Models.User.1', {
		load: async () => {
			const problem = problems.pop();
			if (problem) throw problem;
			return [stored('a')];
		},
	}));
	await until(() => result.error.value);
	expect(result.error.value).toEqual(new Error('503'));
	await result.reload();
	expect(result.error.value).toBeNull();
	expect(ids(result.notifications.value)).toBe('a');
});

test('respects the limit and a custom event name', async () => {
	const { result } = world.run(world.browser(), () => useNotifications<Invoice>('notifications.1', {
		event: 'NotificationCreated', limit: 2,
	}));
	await world.occupied('private-notifications.1');
	for (const id of ['a', 'b', 'c']) {
		await world.sdk.trigger('private-notifications.1', 'App\\Events\\NotificationCreated', stored(id));
	}
	await until(() => ids(result.notifications.value) === 'c,b');
});

test('reads the pages of the backend: rows with their payload in `data`, and the number of all unread ones', async () => {
	const row = (id: string, read_at: string | null = null) => ({
		id, type: TYPE, data: { message: id, id: 'of the payload', type: 'of the payload', read_at: 'of the payload' }, read_at,
		created_at: '2026-01-01T00:00:00Z',
	});
	const saved: unknown[] = [];
	const { result } = world.run(world.browser(), () => useNotifications<Invoice>('App.Models.User.1', {
		load: async () => ({ data: [row('c'), row('b'), row('a', '2026-01-01T00:00:00Z')], unread: 7 }),
		save: async (read) => { saved.push(read); },
		saveAll: async () => { saved.push('all'); },
	}));
	await until(() => result.notifications.value.length === 3);
	expect(result.notifications.value[0]).toEqual({
		id: 'c', type: TYPE, message: 'c', read_at: null, created_at: '2026-01-01T00:00:00Z',
	});
	expect(result.unread.value).toBe(7);
	await push('d');
	await until(() => result.unread.value === 8);
	await result.markRead(['c', 'd']);
	expect(result.unread.value).toBe(6);
	await result.markAllRead();
	expect(result.unread.value).toBe(0);
	expect(saved).toEqual([['d', 'c'], 'all']);
});

test('a payload may have a field `data`', async () => {
	const flat = { id: 'a', type: TYPE, data: { total: 1 }, message: 'a' };
	const { result } = world.run(world.browser(), () => useNotifications<Invoice & { data: object }>('App.Models.User.1', {
		load: async () => [flat],
	}));
	await until(() => result.notifications.value.length === 1);
	expect(result.notifications.value[0]).toEqual({ ...flat, read_at: null });
});

test('components share one list, which is loaded once', async () => {
	const echo = world.browser();
	const [toasts, saved] = [[] as string[], [] as string[][]];
	let loads = 0;
	const bell = world.run(echo, () => useNotifications<Invoice>('App.Models.User.1', {
		load: async () => {
			loads += 1;
			return [stored('b'), stored('a')];
		},
		save: async (read) => { saved.push(read); },
		onNotification: ({ message }) => toasts.push(`bell ${message}`),
	}));
	const page = world.run(echo, () => useNotifications<Invoice>('App.Models.User.1', {
		onNotification: ({ message }) => toasts.push(`page ${message}`),
	}));
	await until(() => page.result.notifications.value.length === 2);
	await page.result.markRead('a');
	expect([bell, page].map(({ result }) => result.unread.value)).toEqual([1, 1]);
	await push('c');
	await until(() => bell.result.unread.value === 2);
	expect(toasts).toEqual(['bell c', 'page c']);
	page.unmount();
	// The next page starts with what is known, and a page that replaces the last one too.
	const next = world.run(echo, () => useNotifications<Invoice>('App.Models.User.1'));
	expect(ids(next.result.notifications.value)).toBe('c,b,a');
	bell.unmount();
	next.unmount();
	const last = world.run(echo, () => useNotifications<Invoice>('App.Models.User.1'));
	expect(ids(last.result.notifications.value)).toBe('c,b,a');
	expect([loads, saved]).toEqual([1, [['a']]]);
	// Another Echo has a list of its own.
	expect(world.run(world.browser(), () => useNotifications('App.Models.User.1')).result.notifications.value).toEqual([]);
});

test('a component that can load fills the list of one that cannot', async () => {
	const echo = world.browser();
	const { result } = world.run(echo, () => useNotifications<Invoice>('App.Models.User.1'));
	await until(() => result.channel.value?.subscription.subscribed);
	world.run(echo, () => useNotifications<Invoice>('App.Models.User.1', { load: async () => [stored('a')] }));
	await until(() => result.notifications.value.length === 1);
});

test('other tabs show what was marked as read, and what could not be saved', async () => {
	let fails = false;
	const load = async () => ({ data: [stored('b'), stored('a')], unread: 5 });
	const open = (echo = world.browser()) => world.run(echo, () => useNotifications<Invoice>('App.Models.User.1', {
		load, saveAll: async () => { if (fails) throw new Error('503'); },
	})).result;
	const [here, there] = [open(), open()];
	await until(() => here.unread.value === 5 && there.unread.value === 5);
	await here.markRead('a');
	await until(() => there.unread.value === 4);
	fails = true;
	await expect(here.markAllRead()).rejects.toThrow('503');
	expect(here.error.value).toEqual(new Error('503'));
	expect(here.unread.value).toBe(4);
	await until(() => there.unread.value === 4);
	fails = false;
	await here.markAllRead();
	await until(() => there.unread.value === 0);
});
