// The users of the watchlist who are online. The server reports changes only, so the state outlives components.

import type Pusher from 'pusher-js';
import { Store, type Readable } from './store.js';

interface Watched {
	user_ids: string[];
}

const online = new WeakMap<Pusher, Store<ReadonlySet<string>>>();

/** Returns the ids of users who are online. Called when the client is created, before the first report. */
export function followWatchlist(pusher: Pusher): Readable<ReadonlySet<string>> {
	const known = online.get(pusher);
	if (known) return known;
	const users = new Store<ReadonlySet<string>>(new Set());
	online.set(pusher, users);
	const { watchlist } = pusher.user;
	watchlist.bind('online', ({ user_ids: ids }: Watched) => {
		users.set(new Set([...users.get(), ...ids]));
	});
	watchlist.bind('offline', ({ user_ids: ids }: Watched) => {
		users.set(new Set([...users.get()].filter((id) => !ids.includes(id))));
	});
	// The next sign-in reports all who are online, maybe to another user.
	pusher.connection.bind('state_change', ({ previous }: { previous: string }) => {
		if (previous === 'connected') users.set(new Set());
	});
	return users;
}
