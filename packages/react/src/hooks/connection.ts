import { bind, type ConnectionState } from '@clarim/js/echo';
import { useCallback, useSyncExternalStore } from 'react';
import { useSource } from '../provider.js';

/** Returns the connection state, for an indicator. */
export function useWebSocketStatus(): { isConnected: boolean; connectionState: ConnectionState } {
	const source = useSource();
	const subscribe = useCallback((notify: () => void) => {
		// Echo's null broadcaster has no client.
		const unbind = bind(source.get().connector.pusher?.connection, 'state_change', notify);
		notify();
		return unbind;
	}, [source]);
	// A render creates no connection.
	const state = (): ConnectionState =>
		(source.peek()?.connector.pusher?.connection.state ?? 'initialized') as ConnectionState;
	const connectionState = useSyncExternalStore(subscribe, state, () => 'initialized' as const);
	return { isConnected: connectionState === 'connected', connectionState };
}
