import { Whispers, type PresenceChannel, type PrivateChannel, type WhisperOptions } from '@clarim/js/echo';
import { useEffect, useMemo } from 'react';
import { useLatest, useStore } from '../state.js';

/**
 * Sends and receives whispers (client events, from browser to browser) on another hook's private or presence
 * channel: typing indicators, cursor positions.
 */
export function useWhisper<T extends object>(
	channel: PrivateChannel | PresenceChannel | null, event: string, options: WhisperOptions<T> = {},
): {
	/** Sends a whisper. Returns `false` if it was not sent now: throttled, or not subscribed. */
	whisper: (payload: T) => boolean;
	/** The last whisper of each other user within `expiry`. */
	recent: readonly T[];
	/** Removes matching whispers immediately, for example when the user's message has arrived. */
	forget: (which: (payload: T) => boolean) => void;
} {
	const keys = [channel, event];
	const latest = useLatest(options, keys);
	const whispers = useMemo(() => new Whispers<T>(event, () => latest.current ?? {}), keys);
	useEffect(() => channel ? whispers.follow(channel) : undefined, [whispers]);
	return { whisper: whispers.whisper, recent: useStore(whispers.recent), forget: whispers.forget };
}
