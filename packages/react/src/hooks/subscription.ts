import { authorize } from '@clarim/js';
import {
	followSubscription, Store, subscriptionState, type Interruption, type PublicChannel, type SubscriptionState,
} from '@clarim/js/echo';
import { useCallback, useEffect, useMemo } from 'react';
import { useLatest, useStore } from '../state.js';

/**
 * Returns the subscription state of another hook's channel. `onResubscribed` is called each time the channel is
 * resubscribed after a lost connection. To fetch what was missed, use `onMissed` of the channel's hook: where the
 * server keeps a history, missed events arrive by themselves.
 */
export function useSubscription(
	channel: PublicChannel | null, onResubscribed?: (interruption: Interruption) => void,
): SubscriptionState & {
	/** Subscribes again after a rejection. If the backend could not be reached, this happens by itself. */
	retry: () => void;
} {
	const state = useMemo(() => new Store(subscriptionState(channel)), [channel]);
	const latest = useLatest(onResubscribed, [channel]);
	useEffect(
		() => channel ? followSubscription(channel, state, (interruption) => latest.current?.(interruption)) : undefined,
		[state],
	);
	const retry = useCallback(() => {
		if (channel?.pusher) authorize(channel.pusher).retry(channel.name);
	}, [channel]);
	return { ...useStore(state), retry };
}
