import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type Pusher from 'pusher-js';
import type { ChannelAuthorizationHandler } from 'pusher-js';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { authorize } from '../src/index.js';
import { startWorld, until, type World } from './world.js';

let world: World;
beforeEach(async () => { world = await startWorld(); });
afterEach(() => world.close());

const failed = (status: number | undefined): Error =>
	Object.assign(new Error(`status ${status}`), status !== undefined && { status });

/** A backend whose answers a test decides. */
function backend() {
	const state = { status: 200 as number | undefined, asked: [] as string[] };
	const answer = <D>(what: string, data: D, done: (error: Error | null, data: D | null) => void): void => {
		state.asked.push(what);
		if (state.status === 200) done(null, data);
		else done(failed(state.status), null);
	};
	const options = {
		channelAuthorization: {
			endpoint: '',
			transport: 'ajax' as const,
			customHandler: (({ channelName }, done) => answer(channelName, { auth: 'key:signature' }, done)) as ChannelAuthorizationHandler,
		},
		userAuthentication: {
			endpoint: '',
			transport: 'ajax' as const,
			customHandler: (_: unknown, done: any) => answer('user', { auth: 'key:signature', user_data: '{"id":"7"}' }, done),
		},
	};
	return { state, options };
}

const errors = (pusher: Pusher, name: string): object[] => {
	const all: object[] = [];
	pusher.subscribe(name).bind('pusher:subscription_error', (error: object) => all.push(error));
	return all;
};

test.each([0, 408, 429, 500, 503, undefined])('a subscription is retried after a passing error (%s)', async (status) => {
	const { state, options } = backend();
	const pusher = world.pusher(options);
	authorize(pusher);
	state.status = status;
	const seen = errors(pusher, 'private-orders');
	await until(() => state.asked.length === 2);
	state.status = 200;
	await until(() => pusher.channel('private-orders').subscribed);
	expect(seen[0]).toEqual({ type: 'AuthError', error: `status ${status}` });
});

test.each([401, 403, 404])('a denied subscription is retried only on demand (%i)', async (status) => {
	const { state, options } = backend();
	const pusher = world.pusher(options);
	const { retry, signIn } = authorize(pusher);
	state.status = status;
	const seen = errors(pusher, 'private-orders');
	await until(() => seen.length === 1);
	vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
	try {
		signIn();
		await vi.advanceTimersByTimeAsync(100_000);
	} finally {
		vi.useRealTimers();
	}
	expect(state.asked).toEqual(['private-orders', 'user']);
	state.status = 200;
	retry('private-orders');
	signIn();
	await until(() => pusher.channel('private-orders').subscribed && pusher.user.user_data);
	expect(state.asked).toEqual(['private-orders', 'user', 'private-orders', 'user']);
});

test('pauses grow, and a sign-in is retried too', async () => {
	const { state, options } = backend();
	const pusher = world.pusher(options);
	const { signIn } = authorize(pusher);
	await until(() => pusher.connection.state === 'connected');
	vi.spyOn(Math, 'random').mockReturnValue(1);
	vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
	try {
		state.status = 503;
		signIn();
		const asked: number[] = [];
		for (let second = 0; second < 100; second += 1) {
			await vi.advanceTimersByTimeAsync(1_000);
			asked.push(state.asked.length);
		}
		// After 1, 2, 4, 8, 16, 30 and 30 s.
		expect([1, 3, 7, 15, 31, 61, 91].map((at) => asked[at - 1])).toEqual([2, 3, 4, 5, 6, 7, 8]);
		state.status = 200;
		await vi.advanceTimersByTimeAsync(30_000);
	} finally {
		vi.useRealTimers();
		vi.restoreAllMocks();
	}
	await until(() => pusher.user.user_data);
});

test('a token is renewed once for all requests, which are then repeated', async () => {
	const { state, options } = backend();
	const pusher = world.pusher(options);
	let renewed = 0;
	authorize(pusher, {
		refresh: async () => {
			renewed += 1;
			await Promise.resolve();
			state.status = 200;
		},
	});
	await until(() => pusher.connection.state === 'connected');
	state.status = 401;
	const seen = errors(pusher, 'private-orders');
	pusher.subscribe('private-news');
	pusher.signin();
	await until(() => ['private-orders', 'private-news'].every((name) => pusher.channel(name).subscribed) && pusher.user.user_data);
	expect(renewed).toBe(1);
	expect(state.asked.length).toBe(6);
	expect(seen).toEqual([]);
});

test.each(['fails', 'does not help'])('a renewal that %s leaves the rejection', async (how) => {
	const { state, options } = backend();
	const pusher = world.pusher(options);
	authorize(pusher, { refresh: () => how === 'fails' ? Promise.reject(new Error('no')) : undefined });
	state.status = 419;
	const seen = errors(pusher, 'private-orders');
	await until(() => seen.length === 1);
	expect(seen).toEqual([{ type: 'AuthError', error: 'status 419' }]);
	expect(state.asked.length).toBe(how === 'fails' ? 1 : 2);
});

test('an answer for a lost connection is dropped', async () => {
	const answers: (() => void)[] = [];
	const { options: { channelAuthorization } } = world;
	const pusher = world.pusher({
		channelAuthorization: {
			...channelAuthorization!,
			customHandler: (_, done) => answers.push(() => done(null, { auth: 'key:signature' })),
		},
	});
	authorize(pusher);
	pusher.subscribe('private-orders');
	await until(() => answers.length === 1);
	world.server.cut();
	await until(() => answers.length === 2);
	answers[0]!();
	answers[1]!();
	await until(() => pusher.channel('private-orders').subscribed);
	expect(world.server.subscriptions.length).toBe(1);
});

test('signing out ends the identity with its connection, and leaves private channels until the next sign-in', async () => {
	const { state, options } = backend();
	const pusher = world.pusher(options);
	const { signIn, signOut, retry } = authorize(pusher);
	signIn();
	const [seen, others] = [errors(pusher, 'private-orders'), errors(pusher, 'private-news')];
	pusher.subscribe('public');
	const all = ['private-orders', 'private-news', 'public'];
	await until(() => pusher.user.user_data && all.every((name) => pusher.channel(name).subscribed));
	const connection = pusher.connection.socket_id;
	state.asked = [];

	signOut();
	expect(pusher.user.user_data).toBeNull();
	await until(() => pusher.channel('public').subscribed);
	expect(pusher.connection.socket_id).not.toBe(connection);
	// The backend is not asked: its session may still be the old one.
	expect(state.asked).toEqual([]);
	expect([seen, others]).toEqual(Array(2).fill([{ type: 'AuthError', error: 'The user has signed out', status: 401 }]));
	// A page for guests.
	retry('private-news');
	await until(() => pusher.channel('private-news').subscribed);
	// Later connections don't bring them back either.
	world.server.cut();
	await until(() => seen.length === 2 && pusher.channel('private-news').subscribed);
	expect(state.asked).toEqual(['private-news', 'private-news']);

	signIn();
	await until(() => pusher.user.user_data && pusher.channel('private-orders').subscribed);
});

test('another user signs in on a connection of its own', async () => {
	const { state, options } = backend();
	const pusher = world.pusher(options);
	const { signIn, signOut } = authorize(pusher);
	signIn();
	pusher.subscribe('private-orders');
	await until(() => pusher.user.user_data && pusher.channel('private-orders').subscribed);
	state.asked = [];
	signOut();
	signIn();
	expect(pusher.channel('private-orders').subscribed).toBe(false);
	await until(() => pusher.user.user_data && pusher.channel('private-orders').subscribed);
	expect(state.asked.sort()).toEqual(['private-orders', 'user']);
});

interface Asked {
	headers: Record<string, unknown>;
	body: { socket_id: string; channel_names: string[] };
}

async function startBatch(respond: (asked: Asked) => [status: number, body: unknown]) {
	const asked: Asked[] = [];
	const server: Server = createServer(async (request, response) => {
		let text = '';
		for await (const chunk of request) text += chunk;
		const one = { headers: request.headers, body: JSON.parse(text) as Asked['body'] };
		asked.push(one);
		const [status, body] = respond(one);
		response.writeHead(status).end(JSON.stringify(body));
	});
	await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
	return {
		asked,
		endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}/broadcasting/auth/batch`,
		close: () => new Promise((resolve) => {
			server.close(resolve);
			server.closeAllConnections();
		}),
	};
}

test('many channels are authorized in one request, each with its own answer', async () => {
	const batch = await startBatch(({ body }) => [200, Object.fromEntries(body.channel_names.map((name) => [
		name, name === 'private-denied' ? { status: 403, data: { message: '' } } : { status: 200, data: { auth: 'key:signature' } },
	]))]);
	try {
		const pusher = world.pusher();
		authorize(pusher, { batch: { endpoint: batch.endpoint, headers: async () => ({ Authorization: 'Bearer t' }) } });
		const names = Array.from({ length: 150 }, (_, n) => `private-orders.${n}`);
		for (const name of names) pusher.subscribe(name);
		const denied = errors(pusher, 'private-denied');
		const isDone = (): unknown => names.every((name) => pusher.channel(name).subscribed) && denied.length > 0;
		await until(isDone);
		expect(denied).toMatchObject([{ status: 403 }]);
		expect(batch.asked.map(({ body }) => body.channel_names.length)).toEqual([100, 51]);
		expect(batch.asked[0]).toMatchObject({ headers: { authorization: 'Bearer t' }, body: { socket_id: pusher.connection.socket_id } });
		world.server.cut();
		await until(() => denied.length === 2 && isDone());
		expect(batch.asked.length).toBe(4);
	} finally {
		await batch.close();
	}
});

test('a batch that fails is retried', async () => {
	let status = 503;
	const batch = await startBatch(() => [status, { 'private-orders': { status: 200, data: { auth: 'key:signature' } } }]);
	const pusher = world.pusher();
	authorize(pusher, { batch });
	const seen = errors(pusher, 'private-orders');
	await until(() => seen.length === 1);
	expect(seen).toMatchObject([{ status: 503 }]);
	status = 200;
	await until(() => pusher.channel('private-orders').subscribed);
	await batch.close();
	world.server.cut();
	await until(() => seen.length === 2);
	expect(seen[1]).toMatchObject({ status: 0 });
});
