import { authorize } from '@clarim/js';
import { EventFormatter } from 'laravel-echo';
import type Pusher from 'pusher-js';
import {
	computed, onScopeDispose, readonly, ref, shallowRef, toValue, watch, type ComputedRef, type MaybeRefOrGetter,
	type Ref, type ShallowRef,
} from 'vue';
import { echoSource, type PusherEcho } from '../echo.js';
import type { DeclaredEvents, EventHandlers } from '../events.js';
import { inBrowser } from '../lifetime.js';
import { bind, type Unbind } from '../listeners.js';
import { followWatchlist } from '../watchlist.js';
import type { SubscriptionError } from './subscription.js';

/** The signed-in user. */
export interface SignedInUser {
	id: string;
	/** User information provided by the application. */
	user_info?: unknown;
	watchlist?: string[];
}

export interface UserOptions<E extends object = DeclaredEvents> {
	/**
	 * The user's id. Signs in as this user, signs out while it is `null`, and changes the user when it changes.
	 * Change it after the login: the backend decides who signs in.
	 */
	id?: MaybeRefOrGetter<string | number | null | undefined>;
	/** Without `id`: signs in while this is true, and signs out when it turns false. Default: `true`. */
	when?: MaybeRefOrGetter<boolean>;
	/** Events that the backend sends to all connections of this user. */
	events?: EventHandlers<NoInfer<E>>;
	/** Called when users of the watchlist come online, and with those who are online already. */
	online?: (userIds: string[]) => void;
	/** Called when users of the watchlist go offline, and when the connection is lost. */
	offline?: (userIds: string[]) => void;
}

/** Who shall be signed in: a user, the user of the backend's session (`true`), or nobody (`false`). */
type Wanted = string | boolean;

/** The user whom a connection was last signed in for. Outlives components. */
const signedInFor = new WeakMap<Pusher, string>();

/**
 * Signs the connection in as a user. The backend can then send events to that user, and the watchlist reports
 * online users.
 */
export function useUser<E extends object = DeclaredEvents>(options: UserOptions<E> = {}): {
	/** `null` while no user is signed in. */
	user: Readonly<ShallowRef<SignedInUser | null>>;
	isSignedIn: Readonly<Ref<boolean>>;
	/** Users of the watchlist who are online. */
	onlineUsers: ComputedRef<readonly string[]>;
	/** Error of a rejected sign-in. */
	error: Readonly<ShallowRef<SubscriptionError | null>>;
	/**
	 * Signs in, or retries after a rejection. After a lost connection, and if the backend was unreachable, this
	 * happens by itself.
	 */
	signIn: () => void;
	/** Signs out: the page reconnects without a user, and leaves private and presence channels until `signIn`. */
	signOut: () => void;
} {
	const user = shallowRef<SignedInUser | null>(null);
	const isSignedIn = ref(false);
	const online = shallowRef<ReadonlySet<string>>(new Set());
	const error = shallowRef<SubscriptionError | null>(null);
	const echo = echoSource();

	const client = (): Pusher | undefined => typeof window === 'undefined' ? undefined : echo().connector.pusher;

	const wanted = (): Wanted => {
		if (!('id' in options)) return toValue(options.when ?? true);
		const id = toValue(options.id);
		return id !== null && id !== undefined && id !== '' && String(id);
	};

	function signOut(): void {
		const pusher = client();
		if (!pusher) return;
		signedInFor.delete(pusher);
		error.value = null;
		authorize(pusher).signOut();
	}

	function signIn(): void {
		const [pusher, as] = [client(), wanted()];
		if (!pusher) return;
		if (typeof as === 'string') {
			const before = signedInFor.get(pusher) ?? (pusher.user.user_data as SignedInUser | null)?.id ?? as;
			if (before !== as) signOut();
			signedInFor.set(pusher, as);
		}
		authorize(pusher).signIn();
	}

	inBrowser('useUser', () => {
		const pusher = client();
		if (!pusher) return;
		const show = (): void => {
			user.value = pusher.user.user_data as SignedInUser | null;
			isSignedIn.value = user.value !== null;
			if (isSignedIn.value) error.value = null;
		};
		show();
		const unbinds = [
			// Not the client's event of the same name, which fires before pusher-js has processed the message.
			bind(pusher.connection, 'message', ({ event }: { event: string }) => {
				if (event === 'pusher:signin_success') show();
			}),
			bind(pusher.connection, 'state_change', show),
			bind(pusher.user, 'pusher:signin_error', (problem: SubscriptionError) => {
				error.value = problem;
				user.value = null;
				isSignedIn.value = false;
			}),
			...listenToUser(echo(), options.events ?? {}),
		];
		onScopeDispose(() => {
			for (const unbind of unbinds) unbind();
		});
		watch(wanted, (now) => {
			if (now) signIn();
			else signOut();
		}, { immediate: true });
		const watched = followWatchlist(pusher);
		watch(watched, (now, before: ReadonlySet<string> = new Set()) => {
			online.value = now;
			const [came, went] = [difference(now, before), difference(before, now)];
			if (went.length) options.offline?.(went);
			if (came.length) options.online?.(came);
		}, { immediate: true, flush: 'sync' });
	});

	return { user, isSignedIn: readonly(isSignedIn), onlineUsers: computed(() => [...online.value]), error, signIn, signOut };
}

const difference = (some: ReadonlySet<string>, others: ReadonlySet<string>): string[] =>
	[...some].filter((id) => !others.has(id));

/** Translates Echo's event names, which pusher-js's user object doesn't know. */
function listenToUser({ connector }: PusherEcho, handlers: object): Unbind[] {
	const names = new EventFormatter(connector.options.namespace);
	return Object.entries(handlers).map(([event, callback]) =>
		bind(connector.pusher.user, names.format(event), callback as (payload: unknown) => void));
}
