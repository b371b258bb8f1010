// The connection as all pages show it.

import { useWebSocketStatus } from '@clarim/vue';
import { computed, inject, onScopeDispose, provide, ref, watch, type ComputedRef, type InjectionKey } from 'vue';

/** Time for the response to a heartbeat, in ms. */
const PATIENCE = 1500;
/** Heartbeats after an `offline` event, and the pause between them in ms. */
const TRIES = 4;
const PAUSE = 300;

/** Whether the server answers. */
async function isAnswering(): Promise<boolean> {
	try {
		const answer = await fetch('/api/time', { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE) });
		await answer.text();
		return answer.ok;
	} catch {
		return false;
	}
}

export interface Connection {
	/** Whether events arrive. */
	isConnected: ComputedRef<boolean>;
	/** The name that pusher-js has for the state. */
	connectionState: ComputedRef<string>;
	/** Offline, as opposed to connecting. */
	isOffline: ComputedRef<boolean>;
}

const KEY: InjectionKey<Connection> = Symbol('connection');

/** Provides the connection to all child components. */
export function provideConnection(): Connection {
	const { isConnected, connectionState } = useWebSocketStatus();
	/** The browser says that there is no network, and the server doesn't answer. */
	const isCut = ref(false);
	const lost = async () => {
		// A server on the same machine is reachable without a network. Others may still answer for a moment.
		for (let left = TRIES; left > 0 && !navigator.onLine; left -= 1) {
			if (!await isAnswering()) {
				isCut.value = !navigator.onLine;
				return;
			}
			await new Promise((resolve) => { setTimeout(resolve, PAUSE); });
		}
	};
	const found = () => { isCut.value = false; };
	addEventListener('offline', lost);
	addEventListener('online', found);
	onScopeDispose(() => {
		removeEventListener('offline', lost);
		removeEventListener('online', found);
	});
	watch(connectionState, (state) => { if (state === 'connected') found(); });
	const connection = {
		isConnected: computed(() => isConnected.value && !isCut.value),
		connectionState: computed(() => (isCut.value ? 'unavailable' : connectionState.value)),
		isOffline: computed(() => isCut.value || !['connected', 'connecting', 'initialized'].includes(connectionState.value)),
	};
	provide(KEY, connection);
	return connection;
}

export function useConnection(): Connection {
	const connection = inject(KEY);
	if (!connection) throw new Error('provideConnection has not been called above this component');
	return connection;
}
