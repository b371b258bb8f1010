import {
	isBrowser, listenToUser, UserSession, wantedUser, type SignedInUser, type SubscriptionError, type WatchlistCallbacks,
} from '@clarim/js/echo';
import {
	computed, onScopeDispose, toValue, watch, type ComputedRef, type MaybeRefOrGetter, type Ref, type ShallowRef,
} from 'vue';
import { echoSource } from '../echo.js';
import type { DeclaredEvents, EventHandlers } from '../events.js';
import { inBrowser } from '../lifetime.js';
import { observed } from '../observed.js';

export interface UserOptions<E extends object = DeclaredEvents> extends WatchlistCallbacks {
	/**
	 * The user's id. Signs in as this user, signs out while it is `null`, and changes the user when it changes.
	 * Change it after the login: the backend decides who signs in.
	 */
	id?: MaybeRefOrGetter<string | number | null | undefined>;
	/** Without `id`: signs in while this is true, and signs out when it turns false. Default: `true`. */
	when?: MaybeRefOrGetter<boolean>;
	/** Events that the backend sends to all connections of this user. */
	events?: EventHandlers<NoInfer<E>>;
}

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
	const echo = echoSource();
	const wanted = () => wantedUser({
		...('id' in options && { id: toValue(options.id) }),
		when: toValue(options.when),
	});
	const session = new UserSession(() => (isBrowser() ? echo().connector.pusher : undefined), wanted);
	const state = observed(session.state);

	inBrowser('useUser', () => {
		// Echo's null broadcaster has no client.
		const { pusher } = echo().connector;
		if (!pusher) return;
		onScopeDispose(session.follow(pusher));
		onScopeDispose(listenToUser(echo(), options.events ?? {}));
		watch(wanted, () => session.apply(), { immediate: true });
		onScopeDispose(session.followWatchlist(pusher, options));
	});

	const user = computed(() => state.value.user);
	return {
		user,
		isSignedIn: computed(() => user.value !== null),
		onlineUsers: computed(() => state.value.onlineUsers),
		error: computed(() => state.value.error),
		signIn: session.signIn,
		signOut: session.signOut,
	};
}
