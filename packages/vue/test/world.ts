// The real server, a signing backend, and components on real pusher-js clients.

import { mount } from '@vue/test-utils';
import { defineComponent, h } from 'vue';
import { boundHandlers, requestHooks, startServers, state, until } from '../../js/test/echo/world.js';
import { ClarimVue, type PusherEcho } from '../src/index.js';

export { boundHandlers, requestHooks, state, until };

export async function startWorld() {
	const servers = await startServers();
	return {
		...servers,
		/** Mounts a component with this setup; `result` is its return value. */
		run<T>(echo: PusherEcho, setup: () => T): { result: T; unmount: () => void } {
			let result: T;
			const wrapper = mount(defineComponent({
				setup() {
					result = setup();
					return () => h('div');
				},
			}), { global: { plugins: [[ClarimVue, { echo }]] } });
			return { result: result!, unmount: servers.keep(() => wrapper.unmount()) };
		},
	};
}

export type World = Awaited<ReturnType<typeof startWorld>>;
