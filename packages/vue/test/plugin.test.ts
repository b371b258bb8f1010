import { mount } from '@vue/test-utils';
import { effectScope, h, nextTick } from 'vue';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { ClarimVue, createEcho, useChannel, useEcho, useWebSocketStatus, type PusherEcho } from '../src/index.js';
import { boundHandlers, requestHooks, startWorld, state, until, type World } from './world.js';

let world: World;
beforeAll(async () => { world = await startWorld(); });
afterEach(async () => {
	vi.unstubAllEnvs();
	vi.unstubAllGlobals();
	await world.clear();
});
afterAll(() => world.close());

const component = (setup: () => void) => ({ setup: () => { setup(); return () => h('div'); } });

test('creates an Echo from the options on first use, and disconnects it with the application', async () => {
	let echo: PusherEcho | null = null;
	const plugins: [typeof ClarimVue, object][] = [[ClarimVue, world.options()]];
	const wrapper = mount(component(() => {
		useWebSocketStatus();
		echo = useEcho();
	}), { global: { plugins } });
	await state(echo!, 'connected');
	wrapper.unmount();
	expect(echo!.connector.pusher.connection.state).toBe('disconnected');
});

test('sends the socket id with requests to the own origin, until the application is unmounted', async () => {
	const echo = world.browser();
	const http = requestHooks();
	const plugins: [typeof ClarimVue, object][] = [[ClarimVue, { echo, http }]];
	const wrapper = mount(component(() => void useChannel('orders')), { global: { plugins } });
	expect(http.headers('/chats/1')).toEqual({ Accept: '*/*' });
	await state(echo, 'connected');
	const headers = { Accept: '*/*', 'X-Socket-ID': echo.socketId() };
	expect(headers['X-Socket-ID']).toMatch(/^\d+\.\d+$/);
	for (const url of ['/chats/1', 'chats', '?page=2', `${location.origin}/chats`]) expect(http.headers(url)).toEqual(headers);
	for (const url of ['https://example.com/', '//example.com/chats']) expect(http.headers(url)).toEqual({ Accept: '*/*' });
	wrapper.unmount();
	expect(http.handlers.size).toBe(0);
});

test('keeps an Echo connected that was passed in', async () => {
	const echo = world.browser();
	await state(echo, 'connected');
	const make = vi.fn(() => echo);
	const wrapper = mount(component(() => void useChannel('orders')), { global: { plugins: [[ClarimVue, { echo: make }]] } });
	expect(make).toHaveBeenCalledOnce();
	wrapper.unmount();
	expect(echo.connector.pusher.connection.state).toBe('connected');
});

test('reads the address of the server from VITE_REVERB_*', () => {
	vi.stubEnv('VITE_REVERB_APP_KEY', 'the-key');
	vi.stubEnv('VITE_REVERB_HOST', 'ws.example.com');
	vi.stubEnv('VITE_REVERB_PORT', '8443');
	const { pusher } = createEcho({ client: undefined, enabledTransports: [] }).connector;
	pusher.disconnect();
	expect(pusher.key).toBe('the-key');
	expect(pusher.config).toMatchObject({ wsHost: 'ws.example.com', wsPort: 8443, wssPort: 8443, useTLS: true });
	vi.stubEnv('VITE_REVERB_SCHEME', 'http');
	vi.stubEnv('VITE_REVERB_PORT', '');
	const open = createEcho({ host: '127.0.0.1', enabledTransports: [] }).connector.pusher;
	open.disconnect();
	expect(open.config).toMatchObject({ wsHost: '127.0.0.1', wsPort: 80, useTLS: false });
});

test('names the missing variable when there is no key', () => {
	expect(() => createEcho()).toThrow('VITE_REVERB_APP_KEY');
});

test('uses the Echo of Laravel\'s bootstrap.js without the plugin', async () => {
	const echo = world.browser();
	vi.stubGlobal('Echo', echo);
	mount(component(() => void useChannel('orders')));
	await world.occupied('orders');
	expect(Object.keys(echo.connector.channels)).toEqual(['orders']);
});

test('unsubscribes when a scope without a component ends', async () => {
	const echo = world.browser();
	const app = world.run(echo, () => {});
	const handlers = boundHandlers(echo);
	const scope = effectScope();
	const status = scope.run(() => {
		useChannel('orders', { OrderShipped: () => {} });
		return useWebSocketStatus();
	})!;
	await until(() => status.isConnected.value);
	await world.occupied('orders');
	scope.stop();
	await world.occupied();
	expect(boundHandlers(echo)).toBe(handlers);
	app.unmount();
});

test('unsubscribes when a scope ends before its component', async () => {
	const echo = world.browser();
	const { result: scope } = world.run(echo, () => {
		const inner = effectScope();
		inner.run(() => useChannel('orders'));
		return inner;
	});
	await world.occupied('orders');
	scope.stop();
	await nextTick();
	await world.occupied();
});

test('throws outside of a component and of a scope', () => {
	expect(() => useChannel('orders')).toThrow('useChannel() must be called in setup()');
});

test('does nothing with the null broadcaster', async () => {
	const { default: Echo } = await import('laravel-echo');
	const echo = new Echo({ broadcaster: 'null' });
	const setup = () => {
		useChannel('orders', { OrderShipped: () => {} });
		useWebSocketStatus();
	};
	const http = requestHooks();
	const wrapper = mount(component(setup), { global: { plugins: [[ClarimVue, { echo, http }]] } });
	expect(http.headers('/')).toEqual({ Accept: '*/*' });
	wrapper.unmount();
	await nextTick();
});
