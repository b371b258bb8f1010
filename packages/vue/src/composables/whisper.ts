import { onScopeDispose, shallowRef, watch, type ShallowRef } from 'vue';
import type { ChannelRef } from './channel.js';
import type { PresenceChannel, PrivateChannel } from '../echo.js';
import { inBrowser } from '../lifetime.js';
import { bind, listen } from '../listeners.js';

export interface WhisperOptions<T> {
	/** Minimum time between two whispers in ms. Default: 1000; 0: no throttling. */
	throttle?: number;
	/**
	 * Whether to send the last throttled whisper after the throttle time. Useful for positions, where the last
	 * value matters. Not for typing indicators, which would arrive after the message.
	 */
	trailing?: boolean;
	/** Time in ms until a user's last whisper is removed from `recent`. Default: 2000; 0: never. */
	expiry?: number;
	/**
	 * Key of the sender; only the last whisper per sender is kept. Default: the user id reported by the server on
	 * presence channels, the payload on private channels.
	 */
	key?: (payload: T, userId?: string) => unknown;
	onWhisper?: (payload: T, userId?: string) => void;
}

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
	const { expiry = 2000, key = (payload, userId) => userId ?? JSON.stringify(payload), onWhisper } = options;
	const recent = shallowRef<readonly T[]>([]);
	const lastWhispers = new Map<unknown, { payload: T; timer?: ReturnType<typeof setTimeout> }>();

	const show = (): void => {
		recent.value = [...lastWhispers.values()].map(({ payload }) => payload);
	};
	const drop = (sender: unknown): void => {
		clearTimeout(lastWhispers.get(sender)?.timer);
		lastWhispers.delete(sender);
	};
	const forget = (which: (payload: T) => boolean): void => {
		for (const [sender, { payload }] of lastWhispers) if (which(payload)) drop(sender);
		show();
	};
	const receive = (payload: T, { user_id: id }: { user_id?: unknown } = {}): void => {
		// A number, if the application signed a number.
		const userId = id === undefined ? undefined : String(id);
		const sender = key(payload, userId);
		clearTimeout(lastWhispers.get(sender)?.timer);
		lastWhispers.set(sender, {
			payload,
			...(expiry > 0 && {
				timer: setTimeout(() => {
					lastWhispers.delete(sender);
					show();
				}, expiry),
			}),
		});
		show();
		onWhisper?.(payload, userId);
	};

	const { send, cancel } = throttled(options, (payload: T) => {
		const joined = channel.value;
		// Without a subscription the server rejects it, and a whisper isn't worth queueing.
		if (!joined?.subscription?.subscribed) return false;
		joined.whisper(event, payload);
		return true;
	});
	onScopeDispose(cancel, true);

	inBrowser('useWhisper', () => {
		watch(channel, (joined, _before, onCleanup) => {
			if (!joined) return;
			const unbinds = [
				listen(joined, `.client-${event}`, receive),
				// A user who left doesn't type. Presence channels only: there `id` is the default key.
				bind(joined.subscription, 'pusher:member_removed', ({ id }: { id: unknown }) => {
					drop(String(id));
					show();
				}),
			];
			onCleanup(() => {
				for (const unbind of unbinds) unbind();
				cancel();
				forget(() => true);
			});
		}, { immediate: true, flush: 'sync' });
	});

	return { whisper: send, recent, forget };
}

/** Limits `send` to once per `throttle` ms. Returns `false` for delayed and dropped payloads. */
function throttled<T>(
	{ throttle = 1000, trailing = false }: WhisperOptions<T>, deliver: (payload: T) => boolean,
): { send: (payload: T) => boolean; cancel: () => void } {
	let pause: ReturnType<typeof setTimeout> | undefined;
	let held: { payload: T } | undefined;

	const wait = (): void => {
		pause = setTimeout(() => {
			pause = undefined;
			const last = held;
			held = undefined;
			if (last) send(last.payload);
		}, throttle);
	};
	const send = (payload: T): boolean => {
		if (pause) {
			if (trailing) held = { payload };
			return false;
		}
		const sent = deliver(payload);
		if (sent && throttle > 0) wait();
		return sent;
	};
	const cancel = (): void => {
		clearTimeout(pause);
		pause = undefined;
		held = undefined;
	};
	return { send, cancel };
}
