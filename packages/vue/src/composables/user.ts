import {
	onScopeDispose, readonly, ref, shallowRef, toValue, watch, type MaybeRefOrGetter, type Ref, type ShallowRef,
} from 'vue';
import { EventFormatter } from 'laravel-echo';
import { echoSource, type PusherEcho } from '../echo.js';
import type { DeclaredEvents, EventHandlers } from '../events.js';
import { inBrowser } from '../lifetime.js';
import { bind, type Unbind } from '../listeners.js';
import { isTemporary, Retry } from '../retry.js';
import type { SubscriptionError } from './subscription.js';

/** The signed-in user. */
export interface SignedInUser {
	id: string;
	/** User information provided by the application. */
	user_info?: unknown;
	watchlist?: string[];
}

interface Watched {
	user_ids: string[];
}

export interface UserOptions<E extends object = DeclaredEvents> {
	/** Signs in when this is or becomes true. Default: immediately. */
	when?: MaybeRefOrGetter<boolean>;
	/** Events that the backend sends to all connections of this user. */
	events?: EventHandlers<NoInfer<E>>;
	/** Called when users of the watchlist come online. */
	online?: (userIds: string[]) => void;
	/** Called when users of the watchlist go offline. */
	offline?: (userIds: string[]) => void;
}

/**
 * Signs the connection in as a user. The backend can then send events to that user, and the watchlist reports
 * online users.
 */
export function useUser<E extends object = DeclaredEvents>(options: UserOptions<E> = {}): {
	/** `null` while no user is signed in. */
	user: Readonly<ShallowRef<SignedInUser | null>>;
	isSignedIn: Readonly<Ref<boolean>>;
	/** Error of a rejected sign-in. */
	error: Readonly<ShallowRef<SubscriptionError | null>>;
	/**
	 * Signs in, or retries after a rejection. After a lost connection pusher-js signs in again by itself, and if
	 * the backend was unreachable, this composable retries.
	 */
	signIn: () => void;
} {
	const user = shallowRef<SignedInUser | null>(null);
	const isSignedIn = ref(false);
	const error = shallowRef<SubscriptionError | null>(null);
	const echo = echoSource();
	const retry = new Retry();

	function signIn(): void {
		const pusher = typeof window === 'undefined' ? undefined : echo().connector.pusher;
		if (!pusher) return;
		// pusher-js asks only once and treats a rejection as final.
		if (error.value) pusher.user.signin_requested = false;
		pusher.signin();
	}

	inBrowser('useUser', () => {
		const { pusher } = echo().connector;
		if (!pusher) return;
		const show = (): void => {
			user.value = pusher.user.user_data as SignedInUser | null;
			isSignedIn.value = user.value !== null;
			if (!isSignedIn.value) return;
			error.value = null;
			retry.reset();
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
				if (isTemporary(problem)) retry.later(() => error.value && toValue(options.when ?? true) && signIn());
			}),
			bind(pusher.user.watchlist, 'online', ({ user_ids: ids }: Watched) => options.online?.(ids)),
			bind(pusher.user.watchlist, 'offline', ({ user_ids: ids }: Watched) => options.offline?.(ids)),
			...listenToUser(echo(), options.events ?? {}),
		];
		onScopeDispose(() => {
			retry.reset();
			for (const unbind of unbinds) unbind();
		});
		watch(() => toValue(options.when ?? true), (now) => {
			if (now) signIn();
		}, { immediate: true });
	});

	return { user, isSignedIn: readonly(isSignedIn), error, signIn };
}

/** Translates Echo's event names, which pusher-js's user object doesn't know. */
function listenToUser({ connector }: PusherEcho, handlers: object): Unbind[] {
	const names = new EventFormatter(connector.options.namespace);
	return Object.entries(handlers).map(([event, callback]) =>
		bind(connector.pusher.user, names.format(event), callback as (payload: unknown) => void));
}
