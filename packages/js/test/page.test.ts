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

test('a reconnection has the same page id in its path', async () => {
	const { server } = world;
	const pusher = world.pusher({ ...world.options, ...pagePaths() });
	await until(() => pusher.connection.state === 'connected');
	server.cut();
	await until(() => server.urls.length === 2);
	expect(server.urls[0]).toMatch(/^\/app\/~[0-9a-f]{32}\/app\/key\?protocol=7/);
	expect(server.urls[1]).toBe(server.urls[0]);
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
	expect(server.urls[0]).toMatch(/^\/app\/~my-page\/app\/key\?/);
	echo.disconnect();
});

test.each([
	[{}, '/app/~x', '/pusher/~x'],
	[{ wsPath: '', httpPath: '/pusher' }, '/app/~x', '/pusher/~x'],
	[{ wsPath: '/realtime', httpPath: '/realtime/pusher' }, '/realtime/app/~x', '/realtime/pusher/~x'],
	[{ wsPath: '/realtime/', httpPath: '/pusher/' }, '/realtime/app/~x', '/pusher/~x'],
	[{ wsPath: '/app/~y', httpPath: '/pusher/~y' }, '/app/~y', '/pusher/~y'],
])('paths of %j', (options, wsPath, httpPath) => {
	expect(pagePaths(options, 'x')).toEqual({ wsPath, httpPath });
});
