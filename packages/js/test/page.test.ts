import Echo from 'laravel-echo';
import Pusher from 'pusher-js';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { pageId, pagePaths } from '../src/index.js';
import { startWorld, until, type World } from './world.js';

let world: World;
beforeEach(async () => { world = await startWorld(); });
afterEach(() => world.close());

test('a page id has the characters and the length that the server accepts, and is used once', () => {
	const ids = Array.from({ length: 100 }, pageId);
	for (const id of ids) expect(id).toMatch(/^[A-Za-z0-9_-]{1,64}$/);
	expect(new Set(ids).size).toBe(100);
});

test('a reconnection has the same page id in its path, and the next number', async () => {
	const { server } = world;
	const pusher = world.pusher({ ...world.options, ...pagePaths() });
	await until(() => pusher.connection.state === 'connected');
	server.cut();
	await until(() => server.urls.length === 2);
	expect(server.urls[0]).toMatch(/^\/app\/~[0-9a-f]{32}\.1\/app\/key\?protocol=7/);
	expect(server.urls[1]).toBe(server.urls[0]!.replace('.1/', '.2/'));
});

test('Echo passes it on', async () => {
	const { server } = world;
	const echo = new Echo({
		broadcaster: 'reverb',
		key: 'key',
		Pusher,
		wsHost: '127.0.0.1',
		wsPort: server.port,
		forceTLS: false,
		enabledTransports: ['ws'],
		withoutInterceptors: true,
		...pagePaths({}, 'my-page'),
	});
	await until(() => server.urls.length === 1);
	expect(server.urls[0]).toMatch(/^\/app\/~my-page\.1\/app\/key\?/);
	echo.disconnect();
});

test.each([
	[{}, '/app/~x.1', '/pusher/~x.2'],
	[{ wsPath: '', httpPath: '/pusher' }, '/app/~x.1', '/pusher/~x.2'],
	[{ wsPath: '/realtime', httpPath: '/realtime/pusher' }, '/realtime/app/~x.1', '/realtime/pusher/~x.2'],
	[{ wsPath: '/realtime/', httpPath: '/pusher/' }, '/realtime/app/~x.1', '/pusher/~x.2'],
	[{ wsPath: '/app/~y', httpPath: '/pusher/~y' }, '/app/~y', '/pusher/~y'],
])('paths of %j', (options, wsPath, httpPath) => {
	const paths = pagePaths(options, 'x');
	expect(`${paths.wsPath} ${paths.httpPath}`).toBe(`${wsPath} ${httpPath}`);
});
