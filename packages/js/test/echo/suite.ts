// The behaviour that @clarim/vue and @clarim/react share. Each package runs it with an adapter of its own.

import Pusher, { type UserAuthenticationHandler } from 'pusher-js';
import type * as vitest from 'vitest';
import type { Gap } from '../../src/index.js';
import type {
	ConnectionState, MemberCallbacks, ModelOptions, NotificationOptions, NotificationState, PublicChannel, PusherEcho,
	SubscriptionState, UserState, WhisperOptions,
} from '../../src/echo/index.js';
import { boundHandlers, state, until, type Servers } from './world.js';

/** A mounted component. */
export interface View<Argument, Values> {
	/** The values that it shows. */
	readonly now: Values;
	/** Renders it with another argument. */
	change(argument: Argument): void;
	unmount(): void;
}

type Mount<Argument, Options, Values> = (echo: PusherEcho, argument: Argument, options: Options) => View<Argument, Values>;

type Name = string | null;
type Handlers = Record<string, (payload: any) => void>;

export interface ChannelUse {
	events?: Handlers;
	onMissed?: (gap: Gap) => void;
	onResubscribed?: () => void;
}

type ChannelValues = SubscriptionState & { channel: PublicChannel | null; retry: () => void };

export interface Person { id: number; name: string }

export interface Order { id: number; status: string }

export interface Typing { name: string }

/** A component for each hook. */
export interface Adapter {
	channel: Mount<Name, ChannelUse, ChannelValues>;
	privateChannel: Mount<Name, ChannelUse, ChannelValues>;
	encryptedChannel: Mount<Name, ChannelUse, ChannelValues>;
	presence: Mount<Name, MemberCallbacks<Person>, { users: readonly Person[] }>;
	/** On the private channel of this name. */
	whisper: Mount<Name, WhisperOptions<Typing>, {
		whisper: (payload: Typing) => boolean; recent: readonly Typing[]; isSubscribed: boolean;
	}>;
	status: Mount<null, null, { connectionState: ConnectionState; isConnected: boolean }>;
	notifications: Mount<Name, NotificationOptions<{ message: string }>, Omit<NotificationState<{ message: string }>, 'channel'> & {
		markRead: (ids: string) => Promise<void>; markAllRead: () => Promise<void>;
	}>;
	model: Mount<number | null, ModelOptions<Order>, { model: Order | null; error: unknown }>;
	/** `when` if the argument is boolean, otherwise `id`. */
	user: Mount<number | null | boolean, { events?: Handlers }, UserState & { isSignedIn: boolean; signIn: () => void; signOut: () => void }>;
}

type Tools = Pick<typeof vitest, 'describe' | 'expect' | 'test'>;

const NOTIFICATION = 'Illuminate\\Notifications\\Events\\BroadcastNotificationCreated';

const stored = (id: string, read_at: string | null = null) => ({ id, type: 'T', message: id, read_at });

/** Defines the tests. Vitest is passed, because each package has its own. */
export function behaviour({ describe, expect, test }: Tools, servers: () => Servers, adapter: Adapter): void {
	describe('channels', () => channels({ describe, expect, test }, servers, adapter));
	describe('presence and whispers', () => people({ describe, expect, test }, servers, adapter));
	describe('stored records', () => records({ describe, expect, test }, servers, adapter));
	describe('the user', () => users({ describe, expect, test }, servers, adapter));

	test('the status follows the connection', async () => {
		const echo = servers().browser();
		const view = adapter.status(echo, null, null);
		await until(() => view.now.isConnected);
		expect(view.now.connectionState).toBe('connected');
		// A later component starts with the current state.
		expect(adapter.status(echo, null, null).now.isConnected).toBe(true);
		echo.disconnect();
		await until(() => view.now.connectionState === 'disconnected');
		expect(view.now.isConnected).toBe(false);
		echo.connector.pusher.connect();
		await until(() => view.now.isConnected);
	});
}

function channels({ expect, test }: Tools, servers: () => Servers, adapter: Adapter): void {
	const send = (channel: string, order: number) => servers().sdk.trigger(channel, 'App\\Events\\OrderShipped', { order });
	const listening = (heard: number[]): ChannelUse => ({ events: { OrderShipped: ({ order }) => heard.push(order) } });

	test.each([
		['public', 'orders', 'channel'], ['private', 'private-orders', 'privateChannel'],
		['encrypted', 'private-encrypted-orders', 'encryptedChannel'],
	] as const)('a %s one is heard by Echo\'s names and by those on the wire', async (_, wire, kind) => {
		const heard: unknown[] = [];
		const view = adapter[kind](servers().browser(), 'orders', {
			events: { OrderShipped: (event) => heard.push(event), '.order.paid': (event) => heard.push(event) },
		});
		await until(() => view.now.isSubscribed);
		expect(view.now.channel?.name).toBe(wire);
		await send(wire, 7);
		await servers().sdk.trigger(wire, 'order.paid', { order: 8 });
		await until(() => heard.length === 2);
		expect(heard).toEqual([{ order: 7 }, { order: 8 }]);
	});

	test('another name switches to its channel, with the listeners, and null to none', async () => {
		const [echo, heard] = [servers().browser(), [] as number[]];
		const view = adapter.channel(echo, null, listening(heard));
		await state(echo, 'connected');
		expect(echo.connector.channels).toEqual({});
		view.change('orders.1');
		await servers().occupied('orders.1');
		await until(() => view.now.isSubscribed);
		const old = view.now.channel!;
		await send('orders.1', 1);
		await until(() => heard.length === 1);
		view.change('orders.2');
		await servers().occupied('orders.2');
		await until(() => view.now.channel?.name === 'orders.2' && view.now.isSubscribed);
		expect(Object.keys(old.subscription.callbacks._callbacks)).toEqual([]);
		await send('orders.1', 10);
		await send('orders.2', 2);
		await until(() => heard.length === 2);
		expect(heard).toEqual([1, 2]);
		view.change(null);
		await servers().occupied();
		expect(view.now).toMatchObject({ channel: null, isSubscribed: false });
	});

	test('components share one subscription, and the last of them unsubscribes', async () => {
		const [echo, first, second] = [servers().browser(), [] as number[], [] as number[]];
		const handlers = boundHandlers(echo);
		const a = adapter.privateChannel(echo, 'orders', listening(first));
		const b = adapter.privateChannel(echo, 'orders', listening(second));
		await until(() => a.now.isSubscribed && b.now.isSubscribed);
		await send('private-orders', 1);
		await until(() => first.length === 1 && second.length === 1);
		a.unmount();
		await send('private-orders', 2);
		await until(() => second.length === 2);
		expect(first).toEqual([1]);
		expect(servers().auth.requests.length).toBe(1);
		b.unmount();
		await servers().occupied();
		expect(echo.connector.channels).toEqual({});
		expect(boundHandlers(echo)).toBe(handlers);
	});

	test('a component that replaces another keeps the subscription', async () => {
		const echo = servers().browser();
		const page = adapter.privateChannel(echo, 'orders', {});
		await until(() => page.now.isSubscribed);
		page.unmount();
		const next = adapter.privateChannel(echo, 'orders', {});
		await until(() => next.now.isSubscribed);
		expect(servers().auth.requests.length).toBe(1);
	});

	test('a pending subscription of an unmounted component ends', async () => {
		const echo = servers().browser();
		await state(echo, 'connected');
		const view = adapter.privateChannel(echo, 'orders', {});
		await until(() => echo.connector.pusher.channel('private-orders'));
		view.unmount();
		await until(() => echo.connector.pusher.allChannels().length === 0);
		await servers().occupied();
	});

	test('a subscription made with Echo is kept', async () => {
		const echo = servers().browser();
		echo.channel('orders');
		await servers().occupied('orders');
		const handlers = boundHandlers(echo);
		const view = adapter.channel(echo, 'orders', listening([]));
		await until(() => view.now.isSubscribed);
		view.unmount();
		await Promise.resolve();
		expect(boundHandlers(echo)).toBe(handlers);
		expect(Object.keys(echo.connector.channels)).toEqual(['orders']);
	});

	test('a rejection is reported, and can be retried', async () => {
		const view = adapter.privateChannel(servers().browser(), 'forbidden', {});
		await until(() => view.now.error);
		expect(view.now).toMatchObject({ isSubscribed: false, error: { type: 'AuthError', status: 403 } });
		const asked = servers().auth.requests.length;
		view.now.retry();
		await until(() => servers().auth.requests.length > asked);
	});

	test('a lost connection is reported after the next subscription', async () => {
		const [echo, heard, told] = [servers().browser(), [] as number[], [] as string[]];
		const view = adapter.privateChannel(echo, 'orders', {
			...listening(heard),
			onMissed: ({ channel, reason }) => told.push(`${channel} ${reason}`),
			onResubscribed: () => told.push('resubscribed'),
		});
		await until(() => view.now.isSubscribed);
		expect(told).toEqual([]);
		echo.connector.pusher.disconnect();
		await until(() => !view.now.isSubscribed);
		echo.connector.pusher.connect();
		await until(() => view.now.isSubscribed);
		expect(told.sort()).toEqual(['private-orders no_history', 'resubscribed']);
		await send('private-orders', 1);
		await until(() => heard.length === 1);
	});
}

function people({ expect, test }: Tools, servers: () => Servers, adapter: Adapter): void {
	const ana = () => servers().browser({ id: 1, info: { id: 1, name: 'Ana' } });
	const bia = () => servers().browser({ id: 2, info: { id: 2, name: 'Bia' } });
	const names = (users: readonly Person[]) => users.map(({ name }) => name).sort().join();

	test('the member list follows joins, leaves and another name', async () => {
		const told: string[] = [];
		const view = adapter.presence(ana(), 'chat.1', {
			here: (all) => told.push(`here ${names(all)}`),
			joining: ({ name }) => told.push(`joining ${name}`),
			leaving: ({ name }) => told.push(`leaving ${name}`),
		});
		await until(() => names(view.now.users) === 'Ana');
		const other = adapter.presence(bia(), 'chat.1', {});
		await until(() => names(view.now.users) === 'Ana,Bia' && names(other.now.users) === 'Ana,Bia');
		other.unmount();
		await until(() => names(view.now.users) === 'Ana');
		expect(told).toEqual(['here Ana', 'joining Bia', 'leaving Bia']);
		adapter.presence(bia(), 'chat.2', {});
		await servers().occupied('presence-chat.1', 'presence-chat.2');
		view.change('chat.2');
		await until(() => names(view.now.users) === 'Ana,Bia');
		await servers().occupied('presence-chat.2');
	});

	test('a whisper is shown until it expires', async () => {
		const open = () => adapter.whisper(servers().browser(), 'chat.1', { throttle: 0, expiry: 150 });
		const [a, b] = [open(), open()];
		expect(a.now.whisper({ name: 'Ana' })).toBe(false);
		await until(() => a.now.isSubscribed && b.now.isSubscribed);
		expect(a.now.whisper({ name: 'Ana' })).toBe(true);
		await until(() => b.now.recent.length === 1);
		expect(b.now.recent).toEqual([{ name: 'Ana' }]);
		expect(a.now.recent).toEqual([]);
		await until(() => b.now.recent.length === 0);
	});
}

function records({ expect, test }: Tools, servers: () => Servers, adapter: Adapter): void {
	const push = (id: string, user = 1) =>
		servers().sdk.trigger(`private-App.Models.User.${user}`, NOTIFICATION, { id, type: 'T', message: id });
	const ids = (list: readonly { id: string }[]) => list.map(({ id }) => id).join();

	test('notifications are merged, marked as read and saved', async () => {
		const [toasts, saved] = [[] as string[], [] as string[][]];
		const view = adapter.notifications(servers().browser(), 'App.Models.User.1', {
			load: async () => [stored('b'), stored('a', '2026-01-01')],
			save: async (read) => { saved.push(read); },
			onNotification: ({ message }) => toasts.push(message),
		});
		await until(() => view.now.notifications.length === 2);
		await push('b');
		await push('c');
		await until(() => view.now.notifications.length === 3);
		expect(ids(view.now.notifications)).toBe('c,b,a');
		expect([view.now.unread, toasts]).toEqual([2, ['c']]);
		await view.now.markRead('b');
		await until(() => view.now.unread === 1);
		await view.now.markAllRead();
		await until(() => view.now.unread === 0);
		expect(saved).toEqual([['b'], ['c']]);
	});

	test('a failed save makes notifications unread again', async () => {
		const view = adapter.notifications(servers().browser(), 'App.Models.User.1', {
			load: async () => [stored('a')], save: () => Promise.reject(new Error('503')),
		});
		await until(() => view.now.unread === 1);
		await expect(view.now.markAllRead()).rejects.toThrow('503');
		await until(() => view.now.error);
		expect(view.now.unread).toBe(1);
	});

	test('components share one list, which is loaded once', async () => {
		const echo = servers().browser();
		let loads = 0;
		const load = async () => {
			loads += 1;
			return [stored('a')];
		};
		const open = () => adapter.notifications(echo, 'App.Models.User.1', { load });
		const [bell, page] = [open(), open()];
		await until(() => bell.now.unread === 1 && page.now.unread === 1);
		await page.now.markRead('a');
		await until(() => bell.now.unread === 0);
		expect(loads).toBe(1);
	});

	test('another user has another list, and a late response for the first is discarded', async () => {
		const answers: ((list: ReturnType<typeof stored>[]) => void)[] = [];
		const view = adapter.notifications(servers().browser(), 'App.Models.User.1', {
			load: () => new Promise((resolve) => { answers.push(resolve); }),
		});
		await until(() => answers.length === 1);
		await push('of 1');
		await until(() => view.now.notifications.length === 1);
		view.change('App.Models.User.2');
		await until(() => answers.length === 2);
		answers[0]!([stored('also of 1')]);
		answers[1]!([stored('of 2')]);
		await push('late', 1);
		await push('pushed', 2);
		await until(() => view.now.notifications.length === 2);
		expect(ids(view.now.notifications)).toBe('pushed,of 2');
	});

	test('a model is loaded, follows its events, and changes with the id', async () => {
		const view = adapter.model(servers().browser(), 7, { load: async (id) => ({ id: Number(id), status: 'paid' }) });
		await until(() => view.now.model?.status === 'paid');
		await servers().sdk.trigger('private-App.Models.Order.7', 'OrderUpdated', { model: { id: 7, status: 'shipped' } });
		await until(() => view.now.model?.status === 'shipped');
		view.change(8);
		await until(() => view.now.model?.id === 8);
		await servers().sdk.trigger('private-App.Models.Order.8', 'OrderDeleted', { model: { id: 8, status: 'paid' } });
		await until(() => view.now.model === null);
		view.change(null);
		await servers().occupied();
	});
}

function users({ expect, test }: Tools, servers: () => Servers, adapter: Adapter): void {
	/** An Echo whose session belongs to the user of the moment. */
	function session() {
		const current = { user: 1 as number | null };
		const customHandler: UserAuthenticationHandler = (params, done) => {
			const user = current.user === null ? undefined : { id: current.user, info: {}, watchlist: ['9'] };
			const { userAuthentication } = servers().options(user);
			const { config } = new Pusher('unused', { cluster: '', enabledTransports: [], userAuthentication });
			config.userAuthenticator(params, done);
		};
		return { current, echo: servers().browser(undefined, { userAuthentication: { endpoint: '', headers: {}, customHandler } }) };
	}

	const sendUntil = (user: string, heard: () => boolean) => until(async () => {
		// The server subscribes the connection to the user's channel after it has confirmed the sign-in.
		await servers().sdk.sendToUser(user, 'order.paid', { of: user });
		return heard();
	});

	test.each(['when', 'id', 'signOut'])('after a logout and the login of another (%s), only that user\'s events arrive', async (how) => {
		const { current, echo } = session();
		const heard: unknown[] = [];
		const view = adapter.user(echo, how === 'id' ? 1 : true, { events: { '.order.paid': ({ of }) => heard.push(of) } });
		const order = adapter.privateChannel(echo, 'orders.1', {});
		await until(() => view.now.user?.id === '1' && order.now.isSubscribed);
		await sendUntil('1', () => heard.length > 0);

		if (how === 'signOut') view.now.signOut();
		else view.change(how === 'id' ? null : false);
		await until(() => !view.now.isSignedIn);
		// The first user's private channels are left, although the backend would still allow them.
		await until(() => order.now.error?.status === 401);
		await servers().occupied();

		current.user = 2;
		if (how === 'signOut') view.now.signIn();
		else view.change(how === 'id' ? 2 : true);
		await until(() => view.now.user?.id === '2' && order.now.isSubscribed);
		heard.length = 0;
		await servers().sdk.sendToUser('1', 'order.paid', { of: '1' });
		await sendUntil('2', () => heard.length > 0);
		expect(new Set(heard)).toEqual(new Set(['2']));
	});

	test('one who changes without a logout signs in on a new connection', async () => {
		const { current, echo } = session();
		const heard: unknown[] = [];
		const view = adapter.user(echo, 1, { events: { '.order.paid': ({ of }) => heard.push(of) } });
		await until(() => view.now.user?.id === '1');
		current.user = 2;
		view.change(2);
		await until(() => view.now.user?.id === '2');
		heard.length = 0;
		await servers().sdk.sendToUser('1', 'order.paid', { of: '1' });
		await sendUntil('2', () => heard.length > 0);
		expect(new Set(heard)).toEqual(new Set(['2']));
	});

	test('the watchlist shows who is online, also to later components', async () => {
		const { echo } = session();
		const view = adapter.user(echo, true, {});
		const other = servers().browser({ id: 9, info: {} });
		adapter.user(other, true, {});
		await until(() => view.now.onlineUsers.join() === '9');
		const next = adapter.user(echo, true, {});
		await until(() => next.now.onlineUsers.join() === '9');
		other.disconnect();
		await until(() => view.now.onlineUsers.length === 0 && next.now.onlineUsers.length === 0);
	});
}
