// The real server, a signing backend, and Echo instances on real pusher-js clients, for the tests of @clarim/vue and
// @clarim/react.

import nacl from 'tweetnacl';
import { world } from '../../../../e2e/support/clients.mjs';
import { until } from '../../../../e2e/support/events.mjs';
import { createEcho, type PusherEcho } from '../../src/echo/index.js';

export { until };

export interface User {
	id: number;
	info?: object;
	watchlist?: string[];
}

export async function startServers() {
	const real = await world();
	const echoes = new Set<PusherEcho>();
	const mounted = new Set<() => void>();

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
		/** Registers a mounted component, which `clear` unmounts if the test doesn't. Returns the function to unmount it. */
		keep(unmount: () => void): () => void {
			const once = (): void => {
				if (mounted.delete(once)) unmount();
			};
			mounted.add(once);
			return once;
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
			for (const unmount of [...mounted]) unmount();
			for (const echo of echoes) echo.disconnect();
			echoes.clear();
			real.auth.requests.length = 0;
			await this.occupied();
		},
	};
}

export type Servers = Awaited<ReturnType<typeof startServers>>;

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

/** Stands for Inertia's `http`. `headers` returns those of a request to this address. */
export function requestHooks() {
	type Request = { url: string; headers?: Record<string, any> };
	const handlers = new Set<(request: Request) => Request>();
	return {
		onRequest(handler: (request: Request) => Request): () => void {
			handlers.add(handler);
			return () => void handlers.delete(handler);
		},
		handlers,
		headers: (url: string) =>
			[...handlers].reduce((request, handler) => handler(request), { url, headers: { Accept: '*/*' } } as Request).headers,
	};
}
