import {
	holdStore, NO_NOTIFICATIONS, Store, type NotificationOptions, type NotificationSource, type NotificationState,
	type NotificationStore,
} from '@clarim/js/echo';
import { useEffect, useMemo } from 'react';
import type { ChannelName } from './channel.js';
import { useSource } from '../provider.js';
import { useLatest, useStore, type Latest } from '../state.js';

export interface NotificationActions {
	/** Marks as read, first here and then in the backend (`save`). */
	markRead: (ids: string | string[]) => Promise<void>;
	markAllRead: () => Promise<void>;
	/** Marks as read only here, for notifications that were read on another device. */
	setRead: (ids: string[]) => void;
	/** Loads again from the backend. */
	reload: () => Promise<void>;
}

/** The options of the last render. */
const sourceOf = <T extends object>(latest: Latest<NotificationOptions<T>>): NotificationSource<T> => ({
	get load() { return latest.current?.load; },
	get save() { return latest.current?.save; },
	get saveAll() { return latest.current?.saveAll; },
	get onNotification() { return latest.current?.onNotification; },
	get limit() { return latest.current?.limit; },
});

/**
 * Returns the notifications of a user (`App.Models.User.7`), stored and pushed, without duplicates. All components
 * with the same name share one list, and `load` is called for the first of them. Other tabs of the browser show what
 * is marked as read.
 */
export function useNotifications<T extends object = Record<string, unknown>>(
	name: ChannelName, options: NotificationOptions<T> = {},
): NotificationState<T> & NotificationActions {
	const source = useSource();
	const wanted = name || null;
	const keys = [source, wanted, options.event];
	const latest = useLatest(options, keys);
	const list = useMemo(() => {
		const state = new Store<NotificationState<T>>(NO_NOTIFICATIONS);
		const held: { store?: NotificationStore<T> | undefined } = {};
		const actions: NotificationActions = {
			markRead: async (ids) => held.store?.markRead(ids),
			markAllRead: async () => held.store?.markAllRead(),
			setRead: (ids) => held.store?.setRead(ids),
			reload: async () => held.store?.reload(),
		};
		return { state, held, actions };
	}, keys);
	useEffect(() => {
		if (!wanted) return undefined;
		const { store, release } = holdStore(source.get(), wanted, options.event, sourceOf(latest));
		const show = (): void => list.state.set(store.state.get());
		list.held.store = store;
		show();
		const unbind = store.state.subscribe(show);
		return () => {
			unbind();
			list.held.store = undefined;
			list.state.set(NO_NOTIFICATIONS);
			release();
		};
	}, [list]);
	return { ...useStore(list.state), ...list.actions };
}
