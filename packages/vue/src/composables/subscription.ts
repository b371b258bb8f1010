import { authorize } from '@clarim/js';
import { readonly, ref, shallowRef, watch, type Ref, type ShallowRef } from 'vue';
import type { ChannelRef } from './channel.js';
import type { PublicChannel } from '../echo.js';
import { inBrowser } from '../lifetime.js';
import { bind } from '../listeners.js';

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

/**
 * Returns the subscription state of another composable's channel. `onResubscribed` is called each time the channel
 * is resubscribed after a lost connection. To fetch what was missed, use `onMissed` of the channel's composable:
 * where the server keeps a history, missed events arrive by themselves.
 */
export function useSubscription(
	channel: ChannelRef<PublicChannel>, onResubscribed?: (interruption: Interruption) => void,
): {
	isSubscribed: Readonly<Ref<boolean>>;
	error: Readonly<ShallowRef<SubscriptionError | null>>;
	/** Subscribes again after a rejection. If the backend could not be reached, this happens by itself. */
	retry: () => void;
} {
	const isSubscribed = ref(false);
	const error = shallowRef<SubscriptionError | null>(null);

	inBrowser('useSubscription', () => {
		watch(channel, (joined, _before, onCleanup) => {
			if (!joined?.subscription) return;
			const { subscription, pusher: { connection } } = joined;
			isSubscribed.value = subscription.subscribed;
			let heard = Date.now();
			/** Set while a subscription that succeeded before is interrupted. */
			let since: Date | undefined;
			const lost = (): void => {
				if (isSubscribed.value) since = new Date(heard);
				isSubscribed.value = false;
			};
			const unbinds = [
				bind(subscription, 'pusher:subscription_succeeded', () => {
					isSubscribed.value = true;
					error.value = null;
					const interrupted = since;
					since = undefined;
					if (interrupted) onResubscribed?.({ since: interrupted });
				}),
				bind(subscription, 'pusher:subscription_error', (problem: SubscriptionError) => {
					isSubscribed.value = false;
					error.value = problem;
				}),
				bind(connection, 'message', () => {
					heard = Date.now();
				}),
				bind(connection, 'state_change', ({ current }: { current: string }) => {
					if (current !== 'connected') lost();
				}),
			];
			onCleanup(() => {
				for (const unbind of unbinds) unbind();
				isSubscribed.value = false;
				error.value = null;
			});
		}, { immediate: true, flush: 'sync' });
	});

	const retry = (): void => {
		if (channel.value?.pusher) authorize(channel.value.pusher).retry(channel.value.name);
	};
	return { isSubscribed: readonly(isSubscribed), error, retry };
}
