import {
	holdStore, NO_NOTIFICATIONS, type Notification, type NotificationOptions, type NotificationState,
	type NotificationStore, type PrivateChannel,
} from '@clarim/js/echo';
import { computed, shallowRef, toValue, watch, type ComputedRef } from 'vue';
import type { ChannelName, ChannelRef } from './channel.js';
import { echoSource } from '../echo.js';
import { inBrowser } from '../lifetime.js';

/**
 * Returns the notifications of a user (`App.Models.User.7`), stored and pushed, without duplicates. All components
 * with the same name share one list, and `load` is called for the first of them. Other tabs of the browser show what
 * is marked as read.
 */
export function useNotifications<T extends object = Record<string, unknown>>(
	name: ChannelName, options: NotificationOptions<T> = {},
): {
	channel: ChannelRef<PrivateChannel>;
	/** Newest first. */
	notifications: ComputedRef<readonly Notification<T>[]>;
	/** Number of unread notifications. */
	unread: ComputedRef<number>;
	/** Marks as read, first here and then in the backend (`save`). */
	markRead: (ids: string | string[]) => Promise<void>;
	markAllRead: () => Promise<void>;
	/** Marks as read only here, for notifications that were read on another device. */
	setRead: (ids: string[]) => void;
	/** Loads again from the backend. */
	reload: () => Promise<void>;
	isLoading: ComputedRef<boolean>;
	/** Error of the last `load` or `save`, until the next load succeeds. */
	error: ComputedRef<unknown>;
} {
	let store: NotificationStore<T> | null = null;
	const state = shallowRef<NotificationState<T>>(NO_NOTIFICATIONS);
	const echo = echoSource();
	inBrowser('useNotifications', () => {
		watch(() => toValue(name), (now, _before, onCleanup) => {
			if (!now) return;
			// A copy, because two components may pass the same object.
			const held = holdStore(echo(), now, options.event, { ...options });
			const show = (): void => {
				state.value = held.store.state.get();
			};
			store = held.store;
			show();
			const unbind = store.state.subscribe(show);
			onCleanup(() => {
				unbind();
				store = null;
				state.value = NO_NOTIFICATIONS;
				held.release();
			});
		}, { immediate: true });
	});

	return {
		channel: computed(() => state.value.channel),
		notifications: computed(() => state.value.notifications),
		unread: computed(() => state.value.unread),
		markRead: async (ids) => store?.markRead(ids),
		markAllRead: async () => store?.markAllRead(),
		setRead: (ids) => store?.setRead(ids),
		reload: async () => store?.reload(),
		isLoading: computed(() => state.value.isLoading),
		error: computed(() => state.value.error),
	};
}
