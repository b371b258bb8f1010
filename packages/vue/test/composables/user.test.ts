import Pusher, { type UserAuthenticationHandler } from 'pusher-js';
import { ref } from 'vue';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { usePrivateChannel, useSubscription, useUser } from '../../src/index.js';
import { startWorld, state, until, type World } from '../world.js';

let world: World;
beforeAll(async () => { world = await startWorld(); });
afterEach(() => world.clear());
afterAll(() => world.close());

test('signs in and receives user events by their Echo names', async () => {
	const heard: unknown[] = [];
	const { result } = world.run(world.browser({ id: 7, info: { name: 'Ana' } }), () => useUser({
		events: {
			OrderShipped: ({ order }) => heard.push(order),
			'.order.paid': ({ order }) => heard.push(order),
		},
	}));
	await until(() => result.isSignedIn.value);
	expect(result.user.value).toMatchObject({ id: '7', user_info: { name: 'Ana' } });
	// The server subscribes the connection to the user's channel after it has confirmed the sign-in.
	await until(async () => {
		await world.sdk.sendToUser('7', 'App\\Events\\OrderShipped', { order: 1 });
		return heard.length > 0;
	});
	heard.length = 0;
	await world.sdk.sendToUser('7', 'order.paid', { order: 2 });
	await until(() => heard.includes(2));
});

test('reports watchlist users who go online and offline', async () => {
	const told: string[] = [];
	const { result } = world.run(world.browser({ id: 1, info: {}, watchlist: ['2'] }), () => useUser({
		online: (ids) => told.push(`online ${ids}`),
		offline: (ids) => told.push(`offline ${ids}`),
	}));
	await until(() => result.isSignedIn.value);
	const other = world.browser({ id: 2, info: {} });
	world.run(other, () => useUser());
	await until(() => told.includes('online 2'));
	other.disconnect();
	await until(() => told.includes('offline 2'));
});

test('waits for `when` and retries after a rejection', async () => {
	const when = ref(false);
	const echo = world.browser();
	await state(echo, 'connected');
	const { result } = world.run(echo, () => useUser({ when }));
	expect(echo.connector.pusher.user.signin_requested).toBe(false);
	when.value = true;
	await until(() => result.error.value);
	expect(result.error.value).toMatchObject({ type: 'AuthError', status: 403 });
	// In the meantime the user has logged in.
	const { config } = world.browser({ id: 7, info: {} }).connector.pusher;
	echo.connector.pusher.config.userAuthenticator = config.userAuthenticator;
	result.signIn();
	await until(() => result.isSignedIn.value);
	expect(result.error.value).toBeNull();
});

test('follows the connection', async () => {
	const echo = world.browser({ id: 7, info: {} });
	const { result } = world.run(echo, () => useUser());
	await until(() => result.isSignedIn.value);
	echo.disconnect();
	expect(result.isSignedIn.value).toBe(false);
	expect(result.user.value).toBeNull();
	echo.connector.pusher.connect();
	await until(() => result.isSignedIn.value);
	// A later component starts with the current state.
	expect(world.run(echo, () => useUser()).result.user.value?.id).toBe('7');
});

test('signs in once the backend is back', async () => {
	const echo = world.browser({ id: 7, info: {} });
	await state(echo, 'connected');
	world.auth.isAway = true;
	const { result } = world.run(echo, () => useUser());
	await until(() => result.error.value);
	world.auth.isAway = false;
	await until(() => result.isSignedIn.value);
	expect(result.error.value).toBeNull();
});

/** An Echo whose session belongs to the user of the moment. */
function session() {
	const current = { user: 1 as number | null };
	const customHandler: UserAuthenticationHandler = (params, done) => {
		const { userAuthentication } = world.options(current.user === null ? undefined : { id: current.user, info: {}, watchlist: ['9'] });
		const { config } = new Pusher('unused', { cluster: '', enabledTransports: [], userAuthentication });
		config.userAuthenticator(params, done);
	};
	return { current, echo: world.browser(undefined, { userAuthentication: { endpoint: '', headers: {}, customHandler } }) };
}

const sendUntil = async (user: string, heard: () => boolean): Promise<void> => {
	// The server subscribes the connection to the user's channel after it has confirmed the sign-in.
	await until(async () => {
		await world.sdk.sendToUser(user, 'order.paid', { of: user });
		return heard();
	});
};

test.each(['when', 'id', 'signOut'])('after a logout and the login of another user (%s), only that user\'s events arrive', async (how) => {
	const { current, echo } = session();
	const [id, heard] = [ref<number | null>(1), [] as unknown[]];
	const options = how === 'when' ? { when: () => id.value !== null } : how === 'id' ? { id } : {};
	const { result } = world.run(echo, () => useUser({ ...options, events: { '.order.paid': ({ of }) => heard.push(of) } }));
	const { result: order } = world.run(echo, () => useSubscription(usePrivateChannel('orders.1')));
	await until(() => result.user.value?.id === '1' && order.isSubscribed.value);
	await sendUntil('1', () => heard.length > 0);

	id.value = null;
	if (how === 'signOut') result.signOut();
	await until(() => !result.isSignedIn.value);
	// The first user's private channels are left, although the backend would still allow them.
	await until(() => order.error.value?.status === 401);
	await world.occupied();

	current.user = id.value = 2;
	if (how === 'signOut') result.signIn();
	await until(() => result.user.value?.id === '2' && order.isSubscribed.value);
	heard.length = 0;
	await world.sdk.sendToUser('1', 'order.paid', { of: '1' });
	await sendUntil('2', () => heard.length > 0);
	expect(new Set(heard)).toEqual(new Set(['2']));
});

test('a user who changes without a logout signs in on a new connection', async () => {
	const { current, echo } = session();
	const id = ref(1);
	const { result, unmount } = world.run(echo, () => useUser({ id }));
	await until(() => result.user.value?.id === '1');
	current.user = id.value = 2;
	await until(() => result.user.value?.id === '2');
	// Also if no component was there when the user changed.
	unmount();
	current.user = 3;
	const { result: next } = world.run(echo, () => useUser({ id: 3 }));
	await until(() => next.user.value?.id === '3');
});

test('a page for guests ends the identity that an earlier page has left', async () => {
	const { echo } = session();
	const { result, unmount } = world.run(echo, () => useUser({ id: 1 }));
	await until(() => result.user.value?.id === '1');
	unmount();
	await world.occupied('#server-to-user-1');
	world.run(echo, () => useUser({ id: null }));
	await world.occupied();
});

test('a component that is mounted later knows who is online', async () => {
	const { echo } = session();
	const { result, unmount } = world.run(echo, () => useUser());
	const other = world.browser({ id: 9, info: {} });
	world.run(other, () => useUser());
	await until(() => result.onlineUsers.value.join() === '9');
	unmount();
	const told: string[] = [];
	const { result: next } = world.run(echo, () => useUser({
		online: (ids) => told.push(`online ${ids}`), offline: (ids) => told.push(`offline ${ids}`),
	}));
	expect(next.onlineUsers.value).toEqual(['9']);
	other.disconnect();
	await until(() => next.onlineUsers.value.length === 0);
	expect(told).toEqual(['online 9', 'offline 9']);
});

test('who is online is forgotten with the connection', async () => {
	const { echo } = session();
	const { result } = world.run(echo, () => useUser());
	const other = world.browser({ id: 9, info: {} });
	world.run(other, () => useUser());
	await until(() => result.onlineUsers.value.length === 1);
	echo.disconnect();
	expect(result.onlineUsers.value).toEqual([]);
	echo.connector.pusher.connect();
	await until(() => result.onlineUsers.value.join() === '9');
});
