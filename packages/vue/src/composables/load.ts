import { computed, ref, watch } from 'vue';
import type { ChannelRef } from './channel.js';
import type { PublicChannel } from '../echo.js';
import { inBrowser } from '../lifetime.js';
import { bind, listenToGaps } from '../listeners.js';
import { useSubscription } from './subscription.js';

/**
 * Calls `load` after the subscription, so that there is no gap between the backend's response and pushed events, and
 * when events were missed that the server does not replay. If the subscription fails, it also calls `load` once,
 * because stored data can be shown all the same. `load` returns whether it succeeded; if not, it is called again
 * after the next subscription.
 */
export function loadWhenJoined(channel: ChannelRef<PublicChannel>, load: () => Promise<boolean>): void {
	const { isSubscribed, error } = useSubscription(channel);
	const connectionState = ref('initialized');
	const isHopeless = computed(() => error.value !== null
		|| ['unavailable', 'failed', 'disconnected'].includes(connectionState.value)
		|| (channel.value !== null && !channel.value.subscription));
	/** Whether a load was tried. */
	let isTried = false;
	/** Whether the data was loaded after a subscription: pushed events, or a gap, tell all later changes. */
	let isCurrent = false;
	inBrowser('loadWhenJoined', () => {
		watch(channel, (joined, _before, onCleanup) => {
			// Echo's null broadcaster has no client.
			const connection = joined?.pusher?.connection;
			if (!connection) return;
			connectionState.value = connection.state;
			onCleanup(bind(connection, 'state_change', ({ current }: { current: string }) => {
				connectionState.value = current;
			}));
		}, { immediate: true, flush: 'sync' });
		const start = async (): Promise<void> => {
			const [of, covered] = [channel.value, isSubscribed.value];
			isTried = true;
			// A second subscription in the meantime need not load again.
			isCurrent = covered;
			if (!await load() && of === channel.value) isCurrent = false;
		};
		watch([channel, isSubscribed, isHopeless], ([joined, subscribed, hopeless], [before]) => {
			if (joined !== before) isTried = isCurrent = false;
			if (!joined) return;
			if ((subscribed && !isCurrent) || (hopeless && !isTried)) void start();
		}, { immediate: true, flush: 'sync' });
		watch(channel, (joined, _before, onCleanup) => {
			if (joined) onCleanup(listenToGaps(joined, () => void start()));
		}, { immediate: true, flush: 'sync' });
	});
}
