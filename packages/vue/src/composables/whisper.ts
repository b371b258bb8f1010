import { Whispers, type PresenceChannel, type PrivateChannel, type WhisperOptions } from '@clarim/js/echo';
import { watch, type ShallowRef } from 'vue';
import type { ChannelRef } from './channel.js';
import { inBrowser } from '../lifetime.js';
import { observed } from '../observed.js';

/**
 * Sends and receives whispers (client events, from browser to browser) on another composable's private or
 * presence channel: typing indicators, cursor positions.
 */
export function useWhisper<T extends object>(
	channel: ChannelRef<PrivateChannel | PresenceChannel>, event: string, options: WhisperOptions<T> = {},
): {
	/** Sends a whisper. Returns `false` if it was not sent now: throttled, or not subscribed. */
	whisper: (payload: T) => boolean;
	/** The last whisper of each other user within `expiry`. */
	recent: Readonly<ShallowRef<readonly T[]>>;
	/** Removes matching whispers immediately, for example when the user's message has arrived. */
	forget: (which: (payload: T) => boolean) => void;
} {
	const whispers = new Whispers<T>(event, () => options);
	inBrowser('useWhisper', () => {
		watch(channel, (joined, _before, onCleanup) => {
			if (joined) onCleanup(whispers.follow(joined));
		}, { immediate: true, flush: 'sync' });
	});
	return { whisper: whispers.whisper, recent: observed(whispers.recent), forget: whispers.forget };
}
