import type { PublicChannel } from '../echo.js';
import { all, bind, listenToGaps, type Unbind } from '../listeners.js';
import { Store } from '../store.js';
import { followSubscription, subscriptionState } from './subscription.js';

/**
 * Calls `load` after the subscription, so that there is no gap between the backend's response and pushed events, and
 * when events were missed that the server does not replay. If the subscription fails, it also calls `load` once,
 * because stored data can be shown all the same. `load` returns whether it succeeded; if not, it is called again
 * after the next subscription.
 */
export function loadWhenJoined(channel: PublicChannel, load: () => Promise<boolean>): Unbind {
	// Echo's null broadcaster has no client.
	const connection = channel.pusher?.connection;
	const state = new Store(subscriptionState(channel));
	/** Whether a load was tried. */
	let isTried = false;
	/** Whether the data was loaded after a subscription: pushed events, or a gap, tell all later changes. */
	let isCurrent = false;
	let wasSubscribed = false;
	let wasHopeless = false;

	const start = async (): Promise<void> => {
		const covered = state.get().isSubscribed;
		isTried = true;
		// A second subscription in the meantime need not load again.
		isCurrent = covered;
		if (!await load()) isCurrent = false;
	};
	const check = (): void => {
		const { isSubscribed, error } = state.get();
		const isHopeless = error !== null || !channel.subscription
			|| ['unavailable', 'failed', 'disconnected'].includes(connection?.state);
		if (isSubscribed === wasSubscribed && isHopeless === wasHopeless) return;
		[wasSubscribed, wasHopeless] = [isSubscribed, isHopeless];
		if ((isSubscribed && !isCurrent) || (isHopeless && !isTried)) void start();
	};
	const unbinds = [
		state.subscribe(check),
		followSubscription(channel, state),
		bind(connection, 'state_change', check),
		listenToGaps(channel, () => void start()),
	];
	check();
	return all(unbinds);
}
