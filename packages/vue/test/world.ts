// The real server, a signing backend, and components on real pusher-js clients.

import { mount, type VueWrapper } from '@vue/test-utils';
import nacl from 'tweetnacl';
import { defineComponent, h } from 'vue';
import { world } from '../../../e2e/support/clients.mjs';
import { until } from '../../../e2e/support/events.mjs';
import { ClarimVue, createEcho, type PusherEcho } from '../src/index.js';

export { until };

export interface User {
	id: number;
	info?: object;
	watchlist?: string[];
}

type Setup<T> = () => T;

export async function startWorld() {
	const real = await world();
	const echoes = new Set<PusherEcho>();
	const mounted = new Set<VueWrapper>();

	const options = (user?: User) => {
		const headers: Record<string, string> = user ? { 'X-User': JSON.stringify(user) } : {};
		return {
			key: real.server.key,
			host: '127.0.0.1',
			port: real.server.port,
			scheme: 'http' as const,
			nacl,
			channelAuthorization: { transport: 'ajax' as const, endpoint: real.auth.endpoint, headers },
			userAuthentication: { transport: 'ajax' as const, endpoint: real.auth.userEndpoint, headers },
		};
	};

	/** Opens a separate browser. */
	const browser = (user?: User, more: Parameters<typeof createEcho>[0] = {}): PusherEcho => {
		const echo = createEcho({ ...options(user), ...more });
		echoes.add(echo);
		return echo;
	};

	return {
		...real,
		options,
		browser,
		/** Mounts a component with this setup; `result` is its return value. */
		run<T>(echo: PusherEcho, setup: Setup<T>): { result: T; unmount: () => void } {
			let result: T;
			const wrapper = mount(defineComponent({
				setup() {
					result = setup();
					return () => h('div');
				},
			}), { global: { plugins: [[ClarimVue, { echo }]] } });
			mounted.add(wrapper);
			return {
				result: result!,
				unmount() {
					mounted.delete(wrapper);
					wrapper.unmount();
				},
			};
		},
		/** The occupied channels on the server. */
		async channels(): Promise<string[]> {
			const { channels } = await (await real.sdk.get({ path: '/channels' })).json();
			return Object.keys(channels).sort();
		},
		async occupied(...names: string[]): Promise<void> {
			let seen: string[] = [];
			await until(async () => {
				seen = await this.channels();
				return seen.join() === [...names].sort().join();
			}, { what: `the channels ${names}` }).catch((error: Error) => {
				throw new Error(`${error.message}, but there are ${seen}`, { cause: error });
			});
		},
		/** Disconnects all clients between tests. */
		async clear(): Promise<void> {
			for (const wrapper of mounted) wrapper.unmount();
			mounted.clear();
			for (const echo of echoes) echo.disconnect();
			echoes.clear();
			real.auth.requests.length = 0;
			await this.occupied();
		},
	};
}

export type World = Awaited<ReturnType<typeof startWorld>>;

/** The number of all listeners that pusher-js keeps. */
export function boundHandlers(echo: PusherEcho): number {
	const { pusher } = echo.connector;
	const emitters = [
		pusher.connection, pusher.global_emitter, pusher.user, pusher.user.watchlist, ...pusher.allChannels(),
	];
	let count = 0;
	for (const { callbacks, global_callbacks: everything } of emitters) {
		count += everything.length;
		for (const list of Object.values(callbacks._callbacks)) count += list.length;
	}
	return count;
}

export const state = (echo: PusherEcho, name: string): Promise<void> =>
	until(() => echo.connector.pusher.connection.state === name, { what: `the state ${name}`, timeout: 20_000 });
