import type { PublicChannel } from '../echo.js';
import { all, bind, type Unbind } from '../listeners.js';
import type { Store } from '../store.js';

/** Error of a rejected subscription. */
export interface SubscriptionError {
	type: string;
	error: string;
	/** HTTP status of the application's response: 403 if it denied access. */
	status?: number;
}

/** A time in which the browser received nothing. */
export interface Interruption {
	/**
	 * Time of the last received message, by the browser's clock. The connection may have been lost long before
	 * that was noticed.
	 */
	since: Date;
}

export interface SubscriptionState {
	isSubscribed: boolean;
	error: SubscriptionError | null;
}

/** Returns the state of a channel's subscription at this moment. */
export const subscriptionState = (channel: PublicChannel | null): SubscriptionState =>
	({ isSubscribed: channel?.subscription?.subscribed ?? false, error: null });

/** Keeps `state` up to date. `onResubscribed` is called when the subscription is back after a lost connection. */
export function followSubscription(
	{ subscription, pusher }: PublicChannel, state: Store<SubscriptionState>,
	onResubscribed?: (interruption: Interruption) => void,
): Unbind {
	// Echo's null broadcaster has none.
	if (!subscription) return () => {};
	state.set({ isSubscribed: subscription.subscribed, error: null });
	let heard = Date.now();
	/** Set while a subscription that succeeded before is interrupted. */
	let since: Date | undefined;
	return all([
		bind(subscription, 'pusher:subscription_succeeded', () => {
			state.set({ isSubscribed: true, error: null });
			const interrupted = since;
			since = undefined;
			if (interrupted) onResubscribed?.({ since: interrupted });
		}),
		bind(subscription, 'pusher:subscription_error', (error: SubscriptionError) => {
			state.set({ isSubscribed: false, error });
		}),
		bind(pusher.connection, 'message', () => {
			heard = Date.now();
		}),
		bind(pusher.connection, 'state_change', ({ current }: { current: string }) => {
			if (current === 'connected') return;
			const { isSubscribed, error } = state.get();
			if (isSubscribed) since = new Date(heard);
			state.set({ isSubscribed: false, error });
		}),
	]);
}
