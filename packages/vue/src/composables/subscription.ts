import { authorize } from '@clarim/js';
import {
	followSubscription, Store, subscriptionState, type Interruption, type PublicChannel, type SubscriptionError,
} from '@clarim/js/echo';
import { readonly, ref, shallowRef, watch, type Ref, type ShallowRef } from 'vue';
import type { ChannelRef } from './channel.js';
import { inBrowser } from '../lifetime.js';

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
	const state = new Store(subscriptionState(null));
	const isSubscribed = ref(false);
	const error = shallowRef<SubscriptionError | null>(null);
	state.subscribe(() => {
		isSubscribed.value = state.get().isSubscribed;
		error.value = state.get().error;
	});

	inBrowser('useSubscription', () => {
		watch(channel, (joined, _before, onCleanup) => {
			if (!joined) return;
			const unbind = followSubscription(joined, state, onResubscribed);
			onCleanup(() => {
				unbind();
				state.set(subscriptionState(null));
			});
		}, { immediate: true, flush: 'sync' });
	});

	const retry = (): void => {
		if (channel.value?.pusher) authorize(channel.value.pusher).retry(channel.value.name);
	};
	return { isSubscribed: readonly(isSubscribed), error, retry };
}
