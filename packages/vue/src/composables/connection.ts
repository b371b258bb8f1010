import { bind, type ConnectionState } from '@clarim/js/echo';
import { computed, onScopeDispose, readonly, ref, type ComputedRef, type Ref } from 'vue';
import { echoSource } from '../echo.js';
import { inBrowser } from '../lifetime.js';

/** Returns the connection state, for an indicator. */
export function useWebSocketStatus(): {
	isConnected: ComputedRef<boolean>;
	connectionState: Readonly<Ref<ConnectionState>>;
} {
	const connectionState = ref<ConnectionState>('initialized');
	const echo = echoSource();
	inBrowser('useWebSocketStatus', () => {
		const connection = echo().connector.pusher?.connection;
		if (!connection) return;
		connectionState.value = connection.state as ConnectionState;
		onScopeDispose(bind(connection, 'state_change', ({ current }: { current: ConnectionState }) => {
			connectionState.value = current;
		}));
	});
	return {
		isConnected: computed(() => connectionState.value === 'connected'),
		connectionState: readonly(connectionState),
	};
}
