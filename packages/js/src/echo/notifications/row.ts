/** A notification. Its own `id` and `type` take precedence over fields of the payload with these names. */
export type Notification<T extends object = Record<string, unknown>> = T & {
	id: string;
	type: string;
	read_at?: string | null;
};

/** A row of the notification tables of Laravel and Clarim, with the payload in `data`. */
export interface NotificationRow<T extends object = Record<string, unknown>> {
	id: string;
	type: string;
	data: T;
	read_at?: string | null;
	created_at?: string | null;
}

/** What a backend returns: rows, or notifications with their payload beside `id` and `type`. */
export type StoredNotifications<T extends object> = readonly (Notification<T> | NotificationRow<T>)[];

/** A page of a list, as `Notifications::routes` of the crate `clarim` and Laravel's pagination return it. */
export interface NotificationPage<T extends object> {
	data: StoredNotifications<T>;
	/** Number of all unread notifications, also of those beyond this page. */
	unread?: number;
}

/** The columns of a row. */
const COLUMNS = new Set([
	'id', 'type', 'data', 'read_at', 'created_at', 'updated_at', 'notifiable_id', 'notifiable_type',
]);

function flat<T extends object>(stored: Notification<T> | NotificationRow<T>): Notification<T> {
	const { data, ...own } = stored as NotificationRow<T>;
	const isRow = typeof data === 'object' && data !== null && Object.keys(stored).every((name) => COLUMNS.has(name));
	return { ...(isRow ? { ...data, ...own } : stored), read_at: stored.read_at ?? null } as Notification<T>;
}

/** Reads what a backend returned. */
export function readPage<T extends object>(
	loaded: StoredNotifications<T> | NotificationPage<T>,
): { list: Notification<T>[]; unread?: number | undefined } {
	const page: NotificationPage<T> = 'data' in loaded ? loaded : { data: loaded };
	return { list: page.data.map(flat), unread: page.unread };
}

export const countUnread = (list: readonly Notification<object>[]): number =>
	list.filter(({ read_at: readAt }) => !readAt).length;

/**
 * Merges the backend's list with the notifications pushed during the request and with older ones below the list.
 */
export function merge<T extends object>(
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
