import { readonly, ref, shallowRef, watch, type Ref, type ShallowRef } from 'vue';
import type { ChannelRef } from './channel.js';
import type { PublicChannel } from './echo.js';
import { inBrowser } from './lifetime.js';
import { bind } from './listeners.js';

/** Why a channel could not be joined. */
export interface SubscriptionError {
	type: string;
	error: string;
	/** Of the application's answer: 403 if it refused. */
	status?: number;
}

/** The time in which this browser heard nothing. */
export interface Gap {
	/**
	 * When something was heard last, by this browser's clock: a lost connection is noticed later than it is
	 * lost.
	 */
	since: Date;
}

/**
 * How it stands with a channel that another composable has joined. `onResubscribed` is called when the
 * channel is joined again after the connection was lost: now ask the backend what was missed. Whatever is
 * sent from this moment on arrives, so that nothing falls between the two.
 */
export function useSubscription(
	channel: ChannelRef<PublicChannel>, onResubscribed?: (gap: Gap) => void,
): { isSubscribed: Readonly<Ref<boolean>>; error: Readonly<ShallowRef<SubscriptionError | null>> } {
	const isSubscribed = ref(false);
	const error = shallowRef<SubscriptionError | null>(null);

	inBrowser('useSubscription', () => {
		watch(channel, (joined, _before, onCleanup) => {
			if (!joined?.subscription) return;
			const { subscription, pusher: { connection } } = joined;
			isSubscribed.value = subscription.subscribed;
			let heard = Date.now();
			/** Set while what is sent does not arrive here, though it did before. */
			let since: Date | undefined;
			const lost = (): void => {
				if (isSubscribed.value) since = new Date(heard);
				isSubscribed.value = false;
			};
			const unbinds = [
				bind(subscription, 'pusher:subscription_succeeded', () => {
					isSubscribed.value = true;
					error.value = null;
					const gap = since;
					since = undefined;
					if (gap) onResubscribed?.({ since: gap });
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

	return { isSubscribed: readonly(isSubscribed), error };
}
