import { computed, readonly, ref, shallowRef, watch, type ComputedRef, type Ref, type ShallowRef } from 'vue';
import { usePrivateChannel, type ChannelName, type ChannelRef } from './channel.js';
import type { PrivateChannel } from '../echo.js';
import { inBrowser } from '../lifetime.js';
import { listen } from '../listeners.js';
import { loadWhenJoined } from './load.js';

/** A notification as pushed and as stored in the notification tables of Laravel and Clarim. */
export type Notification<T extends object = Record<string, unknown>> = T & {
	id: string;
	type: string;
	read_at?: string | null;
};

export interface NotificationOptions<T extends object> {
	/**
	 * Loads the stored notifications from the backend, newest first. Called after the subscription, and when
	 * notifications were missed that the server does not replay.
	 */
	load?: () => Promise<readonly Notification<T>[]>;
	/** Marks notifications as read in the backend. If it fails, they become unread again. */
	save?: (ids: string[]) => Promise<unknown>;
	/** Called once per pushed notification, for example to show a toast. */
	onNotification?: (notification: Notification<T>) => void;
	/** Event name. Default: the one of Laravel's notifications. */
	event?: string;
	/** Maximum number of notifications to keep. Default: 100. */
	limit?: number;
}

/** Returns the notifications of a user (`App.Models.User.7`), stored and pushed, without duplicates. */
export function useNotifications<T extends object = Record<string, unknown>>(
	name: ChannelName, options: NotificationOptions<T> = {},
): {
	channel: ChannelRef<PrivateChannel>;
	/** Newest first. */
	notifications: Readonly<ShallowRef<readonly Notification<T>[]>>;
	/** Number of unread notifications. */
	unread: ComputedRef<number>;
	/** Marks as read, first here and then in the backend (`save`). */
	markRead: (ids: string | string[]) => Promise<void>;
	markAllRead: () => Promise<void>;
	/** Marks as read only here, for notifications that were read in another tab. */
	setRead: (ids: string[]) => void;
	/** Loads again from the backend. */
	reload: () => Promise<void>;
	isLoading: Readonly<Ref<boolean>>;
	/** Error of the last `load`. */
	error: Readonly<ShallowRef<unknown>>;
} {
	const { load, save, onNotification, event, limit = 100 } = options;
	const notifications = shallowRef<readonly Notification<T>[]>([]);
	const isLoading = ref(false);
	const error = shallowRef<unknown>(null);
	/** Version counter: a response is discarded after a change of user or a newer request. */
	let asked = 0;

	const keep = (all: readonly Notification<T>[]): void => {
		notifications.value = all.slice(0, limit);
	};

	async function reload(): Promise<void> {
		if (!load) return;
		const mine = ++asked;
		const before = new Set(notifications.value.map(({ id }) => id));
		isLoading.value = true;
		try {
			const stored = await load();
			if (mine !== asked) return;
			keep(merge(stored, notifications.value, before));
			error.value = null;
		} catch (problem) {
			if (mine === asked) error.value = problem;
		} finally {
			if (mine === asked) isLoading.value = false;
		}
	}

	function push(notification: Notification<T>): void {
		// The backend's response already contained it.
		if (notifications.value.some(({ id }) => id === notification.id)) return;
		keep([{ ...notification, read_at: notification.read_at ?? null }, ...notifications.value]);
		onNotification?.(notification);
	}

	function set(ids: readonly string[], readAt: string | null): string[] {
		const changed: string[] = [];
		notifications.value = notifications.value.map((notification) => {
			const { id, read_at: before } = notification;
			if (!ids.includes(id) || Boolean(before) === Boolean(readAt)) return notification;
			changed.push(id);
			return { ...notification, read_at: readAt };
		});
		return changed;
	}

	const setRead = (ids: readonly string[]): string[] => set(ids, new Date().toISOString());

	async function markRead(which: string | string[]): Promise<void> {
		const changed = setRead([which].flat());
		if (!save || changed.length === 0) return;
		try {
			await save(changed);
		} catch (problem) {
			set(changed, null);
			throw problem;
		}
	}

	const channel = usePrivateChannel(name);
	loadWhenJoined(channel, async () => {
		await reload();
		return error.value === null;
	});
	inBrowser('useNotifications', () => {
		watch(channel, (joined, _before, onCleanup) => {
			if (!joined) return;
			const unbind = listen(joined, event ?? joined.notificationCreatedEvent, push);
			onCleanup(() => {
				unbind();
				asked += 1;
				isLoading.value = false;
				error.value = null;
				notifications.value = [];
			});
		}, { immediate: true, flush: 'sync' });
	});

	return {
		channel,
		notifications,
		unread: computed(() => notifications.value.filter(({ read_at: readAt }) => !readAt).length),
		markRead,
		markAllRead: () => markRead(notifications.value.map(({ id }) => id)),
		setRead: (ids) => void setRead(ids),
		reload,
		isLoading: readonly(isLoading),
		error,
	};
}

/**
 * Merges the backend's list with the notifications pushed during the request and with older ones below the list.
 */
function merge<T extends object>(
	stored: readonly Notification<T>[], here: readonly Notification<T>[], before: ReadonlySet<string>,
): Notification<T>[] {
	const known = new Map(here.map((notification) => [notification.id, notification]));
	const ids = new Set(stored.map(({ id }) => id));
	const others = here.filter(({ id }) => !ids.has(id));
	return [
		...others.filter(({ id }) => !before.has(id)),
		// Keeps notifications read that were marked as read during the request.
		...stored.map((notification) => ({
			...notification, read_at: notification.read_at ?? known.get(notification.id)?.read_at ?? null,
		})),
		...others.filter(({ id }) => before.has(id)),
	];
}
