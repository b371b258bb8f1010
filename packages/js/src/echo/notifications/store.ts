// The notifications of one user on one Echo, shared by all components.

import { hold } from '../channel/lease.js';
import { loadWhenJoined } from '../channel/load.js';
import type { PrivateChannel, PusherEcho } from '../echo.js';
import { all, listen } from '../listeners.js';
import { Store, type Readable } from '../store.js';
import { countUnread, merge, readPage, type Notification, type NotificationPage, type StoredNotifications } from './row.js';
import { otherTabs, type Marked } from './tabs.js';

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

/** The part of a component's options that it adds to the store. */
export type NotificationSource<T extends object> = {
	[Option in keyof Omit<NotificationOptions<T>, 'event'>]: NotificationOptions<T>[Option] | undefined;
};

export interface NotificationState<T extends object> {
	/** `null` before the component is mounted, on the server, and while the name is `null`. */
	channel: PrivateChannel | null;
	/** Newest first. */
	notifications: readonly Notification<T>[];
	/** Number of unread notifications. */
	unread: number;
	isLoading: boolean;
	/** Error of the last `load` or `save`, until the next load succeeds. */
	error: unknown;
}

/** The state without a channel. */
export const NO_NOTIFICATIONS: NotificationState<never> =
	{ channel: null, notifications: [], unread: 0, isLoading: false, error: null };

export interface NotificationStore<T extends object> {
	state: Readable<NotificationState<T>>;
	markRead(ids: string | string[]): Promise<void>;
	markAllRead(): Promise<void>;
	setRead(ids: readonly string[]): void;
	reload(): Promise<void>;
}

interface Shared<T extends object> extends NotificationStore<T> {
	sources: Set<NotificationSource<T>>;
	/** Whether it was time to load, but no component could. */
	isUnloaded(): boolean;
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
	store.sources.add(source);
	// The first component that can load.
	if (source.load && store.isUnloaded()) void store.reload();
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
	const state = new Store<NotificationState<T>>({ ...NO_NOTIFICATIONS, channel });
	const list = (): readonly Notification<T>[] => state.get().notifications;
	/** Number of unread notifications beyond the list, if the backend counts them. */
	let unlisted = 0;
	/** Version counter: a response is discarded after a newer request. */
	let asked = 0;
	let isCounted = false;
	let isDue = false;

	const use = <K extends keyof NotificationSource<T>>(what: K): NotificationSource<T>[K] | undefined =>
		[...sources].find((source) => source[what])?.[what];

	const show = (changes: Partial<NotificationState<T>> = {}): void => {
		const next = { ...state.get(), ...changes };
		state.set({ ...next, unread: countUnread(next.notifications) + unlisted });
	};

	const keep = (every: readonly Notification<T>[]): void => {
		const limit = Math.max(...[...sources].map((source) => source.limit ?? DEFAULT_LIMIT));
		if (isCounted) unlisted += countUnread(every.slice(limit));
		show({ notifications: every.slice(0, limit) });
	};

	async function reload(): Promise<void> {
		const load = use('load');
		if (!load) return;
		const mine = ++asked;
		const before = new Set(list().map(({ id }) => id));
		show({ isLoading: true });
		try {
			const page = readPage(await load());
			if (mine !== asked) return;
			isCounted = page.unread !== undefined;
			unlisted = Math.max(0, (page.unread ?? 0) - countUnread(page.list));
			keep(merge(page.list, list(), before));
			show({ error: null, isLoading: false });
		} catch (error) {
			if (mine === asked) show({ error, isLoading: false });
		}
	}

	function push(notification: Notification<T>): void {
		// The backend's response already contained it.
		if (list().some(({ id }) => id === notification.id)) return;
		keep([{ ...notification, read_at: notification.read_at ?? null }, ...list()]);
		for (const source of [...sources]) source.onNotification?.(notification);
	}

	/** Changes notifications here. Returns the ids of those that were changed. */
	function set({ ids, readAt }: Marked): string[] {
		const changed: string[] = [];
		const notifications = list().map((notification) => {
			const { id, read_at: before } = notification;
			if ((ids && !ids.includes(id)) || Boolean(before) === Boolean(readAt)) return notification;
			changed.push(id);
			return { ...notification, read_at: readAt };
		});
		show({ notifications });
		return changed;
	}

	const tabs = otherTabs(`clarim:notifications:${echo.connector.pusher?.key}:${name}`, (marked) => {
		if (marked.ids === null) unlisted = 0;
		set(marked);
	});

	/** Marks here and in other tabs, then in the backend; undoes it if that fails. */
	async function mark(ids: string[] | null, save: ((changed: string[]) => Promise<unknown>) | undefined): Promise<void> {
		const marked = { ids, readAt: new Date().toISOString() };
		const beyond = unlisted;
		if (ids === null) unlisted = 0;
		const changed = set(marked);
		if (changed.length === 0 && !(ids === null && beyond > 0)) return;
		tabs.tell(marked);
		try {
			await save?.(changed);
		} catch (error) {
			const undo = { ids: changed, readAt: null };
			if (ids === null) unlisted += beyond;
			set(undo);
			tabs.tell(undo);
			show({ error });
			throw error;
		}
	}

	const unbind = all([
		listen(channel, event ?? channel.notificationCreatedEvent, push),
		loadWhenJoined(channel, async () => {
			isDue = true;
			await reload();
			return state.get().error === null;
		}),
	]);

	return {
		sources,
		isUnloaded: () => isDue && asked === 0,
		state,
		markRead: (ids) => mark([ids].flat(), use('save')),
		markAllRead() {
			const [save, saveAll] = [use('save'), use('saveAll')];
			return saveAll ? mark(null, saveAll) : mark(list().map(({ id }) => id), save);
		},
		setRead: (ids) => void set({ ids: [...ids], readAt: new Date().toISOString() }),
		reload,
		close() {
			asked += 1;
			unbind();
			tabs.close();
			lease.release();
		},
	};
}
