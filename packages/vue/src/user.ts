import {
	onScopeDispose, readonly, ref, shallowRef, toValue, watch, type MaybeRefOrGetter, type Ref, type ShallowRef,
} from 'vue';
import { EventFormatter } from 'laravel-echo';
import { echoSource, type PusherEcho } from './echo.js';
import type { DeclaredEvents, EventHandlers } from './events.js';
import { inBrowser } from './lifetime.js';
import { bind, type Unbind } from './listeners.js';
import type { SubscriptionError } from './subscription.js';

/** The user as the application signed them in. */
export interface SignedInUser {
	id: string;
	/** What the application says of them. */
	user_info?: unknown;
	watchlist?: string[];
}

interface Watched {
	user_ids: string[];
}

export interface UserOptions<E extends object = DeclaredEvents> {
	/** Signs in when it is, or becomes, true. By default at once. */
	when?: MaybeRefOrGetter<boolean>;
	/** What the backend sends to this user, wherever they are connected. */
	events?: EventHandlers<NoInfer<E>>;
	/** Somebody on the user's watchlist has come. */
	online?: (userIds: string[]) => void;
	/** Somebody on the user's watchlist has gone. */
	offline?: (userIds: string[]) => void;
}

/**
 * Signs the connection in as a user: then the backend can send to that user, and the watchlist tells who is
 * there.
 */
export function useUser<E extends object = DeclaredEvents>(options: UserOptions<E> = {}): {
	/** `null` while nobody is signed in. */
	user: Readonly<ShallowRef<SignedInUser | null>>;
	isSignedIn: Readonly<Ref<boolean>>;
	/** Why the application refused. */
	error: Readonly<ShallowRef<SubscriptionError | null>>;
	/** Signs in, or tries again after a refusal. pusher-js itself signs in again after a lost connection. */
	signIn: () => void;
} {
	const user = shallowRef<SignedInUser | null>(null);
	const isSignedIn = ref(false);
	const error = shallowRef<SubscriptionError | null>(null);
	const echo = echoSource();

	function signIn(): void {
		const pusher = typeof window === 'undefined' ? undefined : echo().connector.pusher;
		if (!pusher) return;
		// pusher-js asks once in its life, and takes a refusal for good.
		if (error.value) pusher.user.signin_requested = false;
		pusher.signin();
	}

	inBrowser('useUser', () => {
		const { pusher } = echo().connector;
		if (!pusher) return;
		const show = (): void => {
			user.value = pusher.user.user_data as SignedInUser | null;
			isSignedIn.value = user.value !== null;
			if (isSignedIn.value) error.value = null;
		};
		show();
		const unbinds = [
			// Not the event of that name on the client, which comes before pusher-js has looked at it.
			bind(pusher.connection, 'message', ({ event }: { event: string }) => {
				if (event === 'pusher:signin_success') show();
			}),
			bind(pusher.connection, 'state_change', show),
			bind(pusher.user, 'pusher:signin_error', (problem: SubscriptionError) => {
				error.value = problem;
				user.value = null;
				isSignedIn.value = false;
			}),
			bind(pusher.user.watchlist, 'online', ({ user_ids: ids }: Watched) => options.online?.(ids)),
			bind(pusher.user.watchlist, 'offline', ({ user_ids: ids }: Watched) => options.offline?.(ids)),
			...listenToUser(echo(), options.events ?? {}),
		];
		onScopeDispose(() => {
			for (const unbind of unbinds) unbind();
		});
		watch(() => toValue(options.when ?? true), (now) => {
			if (now) signIn();
		}, { immediate: true });
	});

	return { user, isSignedIn: readonly(isSignedIn), error, signIn };
}

/** pusher-js's user knows nothing of Echo's names of events, which the backend uses here as on channels. */
function listenToUser({ connector }: PusherEcho, handlers: object): Unbind[] {
	const names = new EventFormatter(connector.options.namespace);
	return Object.entries(handlers).map(([event, callback]) =>
		bind(connector.pusher.user, names.format(event), callback as (payload: unknown) => void));
}
