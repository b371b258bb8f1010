// The notifications of one user on one Echo, shared by all components.

import { computed, effectScope, ref, shallowRef, type ComputedRef, type Ref, type ShallowRef } from 'vue';
import { loadWhenJoined } from '../composables/load.js';
import type { PrivateChannel, PusherEcho } from '../echo.js';
import { listen } from '../listeners.js';
import { hold } from '../subscriptions.js';
import { countUnread, merge, readPage, type Notification, type NotificationPage, type StoredNotifications } from './row.js';
import { otherTabs, type Marked } from './tabs.js';

/** What a component adds to the store. */
export interface NotificationSource<T extends object> {
	load?: () => Promise<StoredNotifications<T> | NotificationPage<T>>;
	save?: (ids: string[]) => Promise<unknown>;
	saveAll?: () => Promise<unknown>;
	onNotification?: (notification: Notification<T>) => void;
	limit?: number;
}

export interface NotificationStore<T extends object> {
	channel: PrivateChannel;
	notifications: Readonly<ShallowRef<readonly Notification<T>[]>>;
	unread: ComputedRef<number>;
	isLoading: Readonly<Ref<boolean>>;
	error: Readonly<ShallowRef<unknown>>;
	markRead(ids: string | string[]): Promise<void>;
	markAllRead(): Promise<void>;
	setRead(ids: readonly string[]): void;
	reload(): Promise<void>;
}

interface Shared<T extends object> extends NotificationStore<T> {
	sources: Set<NotificationSource<T>>;
	close(): void;
}

const DEFAULT_LIMIT = 100;

const stores = new WeakMap<PusherEcho, Map<string, Shared<any>>>();

/** Returns the shared store until `release`. `event` is a name of Echo; by default that of notifications. */
export function holdStore<T extends object>(
	echo: PusherEcho, name: string, event: string | undefined, source: NotificationSource<T>,
): { store: NotificationStore<T>; release: () => void } {
	let ofEcho = stores.get(echo);
	if (!ofEcho) stores.set(echo, ofEcho = new Map());
	const key = JSON.stringify([name, event]);
	const known = ofEcho.get(key) as Shared<T> | undefined;
	const store = known ?? open(echo, name, event, source);
	ofEcho.set(key, store);
	// The first component that can load.
	const canLoad = [...store.sources].some(({ load }) => load);
	store.sources.add(source);
	if (known && source.load && !canLoad) void store.reload();
	return {
		store,
		release() {
			store.sources.delete(source);
			// Deferred: when one page replaces another, the next component arrives in the same tick.
			queueMicrotask(() => {
				if (store.sources.size > 0 || ofEcho.get(key) !== store) return;
				ofEcho.delete(key);
				store.close();
			});
		},
	};
}

function open<T extends object>(
	echo: PusherEcho, name: string, event: string | undefined, first: NotificationSource<T>,
): Shared<T> {
	const lease = hold(echo, 'private', name);
	const { channel } = lease;
	const sources = new Set([first]);
	const notifications = shallowRef<readonly Notification<T>[]>([]);
	/** Number of unread notifications beyond the list, if the backend counts them. */
	const unlisted = ref(0);
	const isLoading = ref(false);
	const error = shallowRef<unknown>(null);
	/** Version counter: a response is discarded after a newer request. */
	let asked = 0;
	let isCounted = false;

	const use = <K extends keyof NotificationSource<T>>(what: K): NotificationSource<T>[K] | undefined =>
		[...sources].find((source) => source[what])?.[what];

	const keep = (all: readonly Notification<T>[]): void => {
		const limit = Math.max(...[...sources].map((source) => source.limit ?? DEFAULT_LIMIT));
		notifications.value = all.slice(0, limit);
		if (isCounted) unlisted.value += countUnread(all.slice(limit));
	};

	async function reload(): Promise<void> {
		const load = use('load');
		if (!load) return;
		const mine = ++asked;
		const before = new Set(notifications.value.map(({ id }) => id));
		isLoading.value = true;
		try {
			const { list, unread } = readPage(await load());
			if (mine !== asked) return;
			isCounted = unread !== undefined;
			unlisted.value = Math.max(0, (unread ?? 0) - countUnread(list));
			keep(merge(list, notifications.value, before));
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
		for (const source of [...sources]) source.onNotification?.(notification);
	}

	/** Changes notifications here. Returns the ids of those that were changed. */
	function set({ ids, readAt }: Marked): string[] {
		const changed: string[] = [];
		notifications.value = notifications.value.map((notification) => {
			const { id, read_at: before } = notification;
			if ((ids && !ids.includes(id)) || Boolean(before) === Boolean(readAt)) return notification;
			changed.push(id);
			return { ...notification, read_at: readAt };
		});
		return changed;
	}

	const tabs = otherTabs(`clarim:notifications:${echo.connector.pusher?.key}:${name}`, (marked) => {
		if (marked.ids === null) unlisted.value = 0;
		set(marked);
	});

	/** Marks here and in other tabs, then in the backend; undoes it if that fails. */
	async function mark(ids: string[] | null, save: ((changed: string[]) => Promise<unknown>) | undefined): Promise<void> {
		const marked = { ids, readAt: new Date().toISOString() };
		const beyond = unlisted.value;
		const changed = set(marked);
		if (ids === null) unlisted.value = 0;
		if (changed.length === 0 && !(ids === null && beyond > 0)) return;
		tabs.tell(marked);
		try {
			await save?.(changed);
		} catch (problem) {
			const undo = { ids: changed, readAt: null };
			set(undo);
			if (ids === null) unlisted.value += beyond;
			tabs.tell(undo);
			error.value = problem;
			throw problem;
		}
	}

	const scope = effectScope(true);
	const unbind = listen(channel, event ?? channel.notificationCreatedEvent, push);
	scope.run(() => loadWhenJoined(shallowRef(channel), async () => {
		await reload();
		return error.value === null;
	}));

	return {
		sources,
		channel,
		notifications,
		unread: computed(() => countUnread(notifications.value) + unlisted.value),
		isLoading,
		error,
		markRead: (ids) => mark([ids].flat(), use('save')),
		markAllRead() {
			const [save, saveAll] = [use('save'), use('saveAll')];
			return saveAll ? mark(null, saveAll) : mark(notifications.value.map(({ id }) => id), save);
		},
		setRead: (ids) => void set({ ids: [...ids], readAt: new Date().toISOString() }),
		reload,
		close() {
			asked += 1;
			scope.stop();
			unbind();
			tabs.close();
			lease.release();
		},
	};
}
