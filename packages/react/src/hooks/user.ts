import {
	all, isBrowser, listenToUser, UserSession, wantedUser, type UserState, type WatchlistCallbacks,
} from '@clarim/js/echo';
import { useEffect, useMemo } from 'react';
import type { DeclaredEvents, EventHandlers } from '../events.js';
import { useSource } from '../provider.js';
import { latestHandlers, namesOf, useLatest, useStore } from '../state.js';

export interface UserOptions<E extends object = DeclaredEvents> extends WatchlistCallbacks {
	/**
	 * The user's id. Signs in as this user, signs out while it is `null`, and changes the user when it changes.
	 * Change it after the login: the backend decides who signs in.
	 */
	id?: string | number | null | undefined;
	/** Without `id`: signs in while this is true, and signs out when it turns false. Default: `true`. */
	when?: boolean;
	/** Events that the backend sends to all connections of this user. */
	events?: EventHandlers<NoInfer<E>>;
}

/**
 * Signs the connection in as a user. The backend can then send events to that user, and the watchlist reports
 * online users.
 */
export function useUser<E extends object = DeclaredEvents>(options: UserOptions<E> = {}): UserState & {
	isSignedIn: boolean;
	/**
	 * Signs in, or retries after a rejection. After a lost connection, and if the backend was unreachable, this
	 * happens by itself.
	 */
	signIn: () => void;
	/** Signs out: the page reconnects without a user, and leaves private and presence channels until `signIn`. */
	signOut: () => void;
} {
	const source = useSource();
	const wanted = wantedUser(options);
	const keys = [source, wanted];
	const latest = useLatest(options, keys);
	// One per user, so that a render with another user never shows the former one.
	const session = useMemo(
		() => new UserSession(() => (isBrowser() ? source.get().connector.pusher : undefined), () => wanted), keys,
	);
	useEffect(() => {
		// Echo's null broadcaster has no client.
		const { pusher } = source.get().connector;
		if (!pusher) return undefined;
		const unbind = session.follow(pusher);
		session.apply();
		return all([unbind, session.followWatchlist(pusher, {
			online: (ids) => latest.current?.online?.(ids),
			offline: (ids) => latest.current?.offline?.(ids),
		})]);
	}, [session]);
	const names = namesOf(options.events ?? {});
	useEffect(() => {
		const echo = source.get();
		if (!echo.connector.pusher) return undefined;
		return listenToUser(echo, latestHandlers(names, () => latest.current?.events));
	}, [session, names]);
	const state = useStore(session.state);
	return { ...state, isSignedIn: state.user !== null, signIn: session.signIn, signOut: session.signOut };
}
