import { mount } from '@vue/test-utils';
import { effectScope, h, nextTick } from 'vue';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { ClarimVue, createEcho, useChannel, useEcho, useWebSocketStatus, type PusherEcho } from '../src/index.js';
import { boundHandlers, startWorld, state, until, type World } from './world.js';

let world: World;
beforeAll(async () => { world = await startWorld(); });
afterEach(async () => {
	vi.unstubAllEnvs();
	vi.unstubAllGlobals();
	await world.clear();
});
afterAll(() => world.close());

const component = (setup: () => void) => ({ setup: () => { setup(); return () => h('div'); } });

test('an Echo is made from the options when it is first needed, and ends with the application', async () => {
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

test('an Echo that was handed in stays connected', async () => {
	const echo = world.browser();
	await state(echo, 'connected');
	const make = vi.fn(() => echo);
	const wrapper = mount(component(() => void useChannel('orders')), { global: { plugins: [[ClarimVue, { echo: make }]] } });
	expect(make).toHaveBeenCalledOnce();
	wrapper.unmount();
	expect(echo.connector.pusher.connection.state).toBe('connected');
});

test('VITE_REVERB_* say where the server is', () => {
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

test('without a key it is said what to do', () => {
	expect(() => createEcho()).toThrow('VITE_REVERB_APP_KEY');
});

test('without the plugin, the Echo of Laravel\'s bootstrap.js is used', async () => {
	const echo = world.browser();
	vi.stubGlobal('Echo', echo);
	mount(component(() => void useChannel('orders')));
	await world.occupied('orders');
	expect(Object.keys(echo.connector.channels)).toEqual(['orders']);
});

test('works in a scope without a component, which ends it', async () => {
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

test('a scope within a component may end before it', async () => {
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

test('where nothing would end it, it is refused', () => {
	expect(() => useChannel('orders')).toThrow('useChannel() belongs into setup()');
});

test('with the null broadcaster nothing happens, and nothing breaks', async () => {
	const { default: Echo } = await import('laravel-echo');
	const echo = new Echo({ broadcaster: 'null' });
	const setup = () => {
		useChannel('orders', { OrderShipped: () => {} });
		useWebSocketStatus();
	};
	const wrapper = mount(component(setup), { global: { plugins: [[ClarimVue, { echo }]] } });
	wrapper.unmount();
	await nextTick();
});
