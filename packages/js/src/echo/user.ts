import { EventFormatter } from 'laravel-echo';
import type Pusher from 'pusher-js';
import { authorize } from '../authorization.js';
import type { SubscriptionError } from './channel/subscription.js';
import type { PusherEcho } from './echo.js';
import { all, bind, type Unbind } from './listeners.js';
import { Store } from './store.js';
import { followWatchlist } from './watchlist.js';

/** The signed-in user. */
export interface SignedInUser {
	id: string;
	/** User information provided by the application. */
	user_info?: unknown;
	watchlist?: string[];
}

/** The users who shall be signed in: a user, the user of the backend's session (`true`), or nobody (`false`). */
export type WantedUser = string | boolean;

export interface UserState {
	/** `null` while no user is signed in. */
	user: SignedInUser | null;
	/** Error of a rejected sign-in. */
	error: SubscriptionError | null;
	/** Users of the watchlist who are online. */
	onlineUsers: readonly string[];
}

export interface WatchlistCallbacks {
	/** Called when users of the watchlist come online, and with those who are online already. */
	online?: (userIds: string[]) => void;
	/** Called when users of the watchlist go offline, and when the connection is lost. */
	offline?: (userIds: string[]) => void;
}

/** Returns the wanted user for the options of a component. `id` takes precedence. */
export function wantedUser(
	options: { id?: string | number | null | undefined; when?: boolean | undefined },
): WantedUser {
	if (!('id' in options)) return options.when ?? true;
	const { id } = options;
	return id !== null && id !== undefined && id !== '' && String(id);
}

/** The user whom a connection was last signed in for. Outlives components. */
const signedInFor = new WeakMap<Pusher, string>();

/** The user of a connection. */
export class UserSession {
	readonly state = new Store<UserState>({ user: null, error: null, onlineUsers: [] });
	readonly #client: () => Pusher | undefined;
	readonly #wanted: () => WantedUser;

	/** `client` returns nothing on the server. */
	constructor(client: () => Pusher | undefined, wanted: () => WantedUser) {
		this.#client = client;
		this.#wanted = wanted;
	}

	/** Signs in, or retries after a rejection. */
	readonly signIn = (): void => {
		const [pusher, as] = [this.#client(), this.#wanted()];
		if (!pusher) return;
		if (typeof as === 'string') {
			const before = signedInFor.get(pusher) ?? (pusher.user.user_data as SignedInUser | null)?.id ?? as;
			if (before !== as) this.signOut();
			signedInFor.set(pusher, as);
		}
		authorize(pusher).signIn();
	};

	/** Signs out: the page reconnects without a user, and leaves private and presence channels until `signIn`. */
	readonly signOut = (): void => {
		const pusher = this.#client();
		if (!pusher) return;
		signedInFor.delete(pusher);
		this.#set({ error: null });
		authorize(pusher).signOut();
	};

	/** Signs the wanted user in, or out if there is none. */
	apply(): void {
		if (this.#wanted()) this.signIn();
		else this.signOut();
	}

	/** Keeps the user and the error up to date. */
	follow({ connection, user: client }: Pusher): Unbind {
		const show = (): void => {
			const user = client.user_data as SignedInUser | null;
			this.#set(user ? { user, error: null } : { user });
		};
		show();
		return all([
			// Not the client's event of the same name, which fires before pusher-js has processed the message.
			bind(connection, 'message', ({ event }: { event: string }) => {
				if (event === 'pusher:signin_success') show();
			}),
			bind(connection, 'state_change', show),
			bind(client, 'pusher:signin_error', (error: SubscriptionError) => this.#set({ error, user: null })),
		]);
	}

	/** Keeps the online users of the watchlist up to date. */
	followWatchlist(pusher: Pusher, callbacks: WatchlistCallbacks): Unbind {
		const watched = followWatchlist(pusher);
		let before: ReadonlySet<string> = new Set();
		const show = (): void => {
			const now = watched.get();
			const [came, went] = [difference(now, before), difference(before, now)];
			before = now;
			this.#set({ onlineUsers: [...now] });
			if (went.length) callbacks.offline?.(went);
			if (came.length) callbacks.online?.(came);
		};
		show();
		return watched.subscribe(show);
	}

	#set(changes: Partial<UserState>): void {
		this.state.set({ ...this.state.get(), ...changes });
	}
}

const difference = (some: ReadonlySet<string>, others: ReadonlySet<string>): string[] =>
	[...some].filter((id) => !others.has(id));

/** Listens to events of the user. Translates Echo's event names, which pusher-js's user object doesn't know. */
export function listenToUser({ connector }: PusherEcho, handlers: object): Unbind {
	const names = new EventFormatter(connector.options.namespace);
	return all(Object.entries(handlers).map(([event, callback]) =>
		bind(connector.pusher.user, names.format(event), callback as (payload: unknown) => void)));
}
