import { ref } from 'vue';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { useUser } from '../../src/index.js';
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
