import { defaultSource, EchoSource, type EchoSourceOptions, type PusherEcho } from '@clarim/js/echo';
import {
	createContext, createElement, useCallback, useContext, useEffect, useRef, useState, useSyncExternalStore,
	type ReactNode,
} from 'react';

export interface ClarimProviderProps {
	/** An Echo instance, or the options to create one (all options of Echo and pusher-js). Read once. */
	options?: EchoSourceOptions;
	children?: ReactNode;
}

const SourceContext = createContext<EchoSource>(defaultSource);

/** Sets the Echo instance of the hooks below it. Without it they use `window.Echo` or `VITE_REVERB_*`. */
export function ClarimProvider({ options = {}, children }: ClarimProviderProps): ReactNode {
	const [source] = useState(() => new EchoSource(options));
	const isMounted = useRef(false);
	useEffect(() => {
		isMounted.current = true;
		source.reopen();
		return () => {
			isMounted.current = false;
			// Deferred: StrictMode mounts the effect again at once.
			queueMicrotask(() => {
				if (!isMounted.current) source.close();
			});
		};
	}, [source]);
	return createElement(SourceContext.Provider, { value: source }, children);
}

export const useSource = (): EchoSource => useContext(SourceContext);

/**
 * Returns the Echo instance of the hooks, for other features (`socketId()`). It is `null` on the server, and in the
 * first render of the first component that uses it.
 */
export function useEcho(): PusherEcho | null {
	const source = useSource();
	const create = useCallback((notify: () => void) => {
		source.get();
		notify();
		return () => {};
	}, [source]);
	return useSyncExternalStore(create, source.peek, () => null);
}
