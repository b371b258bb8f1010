import type { Readable } from '@clarim/js/echo';
import { useInsertionEffect, useMemo, useSyncExternalStore } from 'react';

/** Returns the value of a store that no effect of the page has changed before hydration. */
export const useStore = <T>(store: Readable<T>): T => useSyncExternalStore(store.subscribe, store.get, store.get);

/** The value of the last render that was committed. */
export interface Latest<T> {
	current: T | undefined;
}

/**
 * Returns the latest `value`, so that listeners call the functions of the last render without a new subscription.
 * With other `keys` it is another object, and the former one is emptied in the same commit: an event of the former
 * channel or user that arrives before the effects doesn't reach the functions of the next one.
 */
export function useLatest<T>(value: T, keys: readonly unknown[]): Latest<T> {
	const latest = useMemo((): Latest<T> => ({ current: undefined }), keys);
	useInsertionEffect(() => {
		latest.current = value;
	});
	useInsertionEffect(() => () => {
		latest.current = undefined;
	}, [latest]);
	return latest;
}

/** The names of the handlers that are functions, as a dependency of effects. */
export const namesOf = (handlers: object): string =>
	JSON.stringify(Object.entries(handlers).filter(([, one]) => typeof one === 'function').map(([name]) => name).sort());

/** Handlers with these names that call the latest functions. */
export function latestHandlers(names: string, handlers: () => object | undefined): Record<string, (payload: unknown) => void> {
	const call = (name: string) => (payload: unknown): void => {
		(handlers() as Record<string, (payload: unknown) => void> | undefined)?.[name]?.(payload);
	};
	return Object.fromEntries((JSON.parse(names) as string[]).map((name) => [name, call(name)]));
}
