import { computed, watch } from 'vue';
import type { ChannelRef } from './channel.js';
import { useWebSocketStatus } from './connection.js';
import type { PublicChannel } from '../echo.js';
import { inBrowser } from '../lifetime.js';
import { useSubscription } from './subscription.js';

/**
 * Calls `load` after each subscription, so that there is no gap between the backend's response and pushed events.
 * If the subscription fails, it also calls `load` once, because stored data can be shown all the same.
 */
export function loadWhenJoined(channel: ChannelRef<PublicChannel>, load: () => void): void {
	const { isSubscribed, error } = useSubscription(channel);
	const { connectionState } = useWebSocketStatus();
	const isHopeless = computed(() => error.value !== null
		|| ['unavailable', 'failed', 'disconnected'].includes(connectionState.value)
		|| (channel.value !== null && !channel.value.subscription));
	let loaded = false;
	inBrowser('loadWhenJoined', () => {
		watch([channel, isSubscribed, isHopeless], ([joined, subscribed, hopeless], [before, wasSubscribed]) => {
			if (joined !== before) loaded = false;
			if (!joined) return;
			if ((subscribed && !(wasSubscribed && loaded)) || (hopeless && !loaded)) {
				loaded = true;
				load();
			}
		}, { immediate: true, flush: 'sync' });
	});
}
