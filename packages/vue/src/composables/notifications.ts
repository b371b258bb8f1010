import { computed, shallowRef, toValue, watch, type ComputedRef } from 'vue';
import type { ChannelName, ChannelRef } from './channel.js';
import { echoSource, type PrivateChannel } from '../echo.js';
import { inBrowser } from '../lifetime.js';
import type { Notification, NotificationPage, StoredNotifications } from '../notifications/row.js';
import { holdStore, type NotificationStore } from '../notifications/store.js';

export interface NotificationOptions<T extends object> {
	/**
	 * Loads the stored notifications from the backend, newest first: a list, or a page `{ data, unread }`. Called after
	 * the subscription, and when notifications were missed that the server does not replay.
	 */
	load?: () => Promise<StoredNotifications<T> | NotificationPage<T>>;
	/** Marks notifications as read in the backend. If it fails, they become unread again. */
	save?: (ids: string[]) => Promise<unknown>;
	/** Marks all as read in the backend, also those that are not listed. Default: `save` with the listed ones. */
	saveAll?: () => Promise<unknown>;
	/** Called once per pushed notification, for example to show a toast. */
	onNotification?: (notification: Notification<T>) => void;
	/** Event name. Default: the one of Laravel's notifications. */
	event?: string;
	/** Maximum number of notifications to keep. Default: 100. */
	limit?: number;
}

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
	const store = shallowRef<NotificationStore<T> | null>(null);
	const echo = echoSource();
	inBrowser('useNotifications', () => {
		watch(() => toValue(name), (now, _before, onCleanup) => {
			if (!now) return;
			// A copy, because two components may pass the same object.
			const held = holdStore(echo(), now, options.event, { ...options });
			store.value = held.store;
			onCleanup(() => {
				store.value = null;
				held.release();
			});
		}, { immediate: true });
	});

	return {
		channel: computed(() => store.value?.channel ?? null),
		notifications: computed(() => store.value?.notifications.value ?? []),
		unread: computed(() => store.value?.unread.value ?? 0),
		markRead: async (ids) => store.value?.markRead(ids),
		markAllRead: async () => store.value?.markAllRead(),
		setRead: (ids) => store.value?.setRead(ids),
		reload: async () => store.value?.reload(),
		isLoading: computed(() => store.value?.isLoading.value ?? false),
		error: computed(() => store.value?.error.value ?? null),
	};
}
