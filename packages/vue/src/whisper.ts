import { onScopeDispose, shallowRef, watch, type ShallowRef } from 'vue';
import type { ChannelRef } from './channel.js';
import type { PresenceChannel, PrivateChannel } from './echo.js';
import { inBrowser } from './lifetime.js';
import { bind, listen } from './listeners.js';

export interface WhisperOptions<T> {
	/** Whispers at most once in so many milliseconds. 1000; 0 for each. */
	throttle?: number;
	/**
	 * Whether the last of what was held back is sent when its time has come: for positions, where the last one
	 * counts. Not for "is typing", which would come after the message.
	 */
	trailing?: boolean;
	/** Forgets what somebody whispered after so many milliseconds without a new whisper. 2000; 0 for never. */
	expiry?: number;
	/**
	 * Who whispers: of each, only the last is kept. On a presence channel the server says who it is (`userId`),
	 * on others a payload that is always the same stands for its sender, if you say nothing else.
	 */
	key?: (payload: T, userId?: string) => unknown;
	onWhisper?: (payload: T, userId?: string) => void;
}

/**
 * Whispers, from browser to browser, on a private or presence channel that another composable has joined: who
 * is typing, where the cursors are.
 */
export function useWhisper<T extends object>(
	channel: ChannelRef<PrivateChannel | PresenceChannel>, event: string, options: WhisperOptions<T> = {},
): {
	/** Whispers. `false` if it is not sent now: too soon after the last, or not joined. */
	whisper: (payload: T) => boolean;
	/** The last whisper of everybody else who whispered lately. */
	recent: Readonly<ShallowRef<readonly T[]>>;
	/** Forgets those at once: their message has arrived, so they don't type any more. */
	forget: (which: (payload: T) => boolean) => void;
} {
	const { expiry = 2000, key = (payload, userId) => userId ?? JSON.stringify(payload), onWhisper } = options;
	const recent = shallowRef<readonly T[]>([]);
	const heard = new Map<unknown, { payload: T; timer?: ReturnType<typeof setTimeout> }>();

	const show = (): void => {
		recent.value = [...heard.values()].map(({ payload }) => payload);
	};
	const drop = (who: unknown): void => {
		clearTimeout(heard.get(who)?.timer);
		heard.delete(who);
	};
	const forget = (which: (payload: T) => boolean): void => {
		for (const [who, { payload }] of heard) if (which(payload)) drop(who);
		show();
	};
	const hear = (payload: T, { user_id: id }: { user_id?: unknown } = {}): void => {
		// A number if the application signed a number.
		const userId = id === undefined ? undefined : String(id);
		const who = key(payload, userId);
		clearTimeout(heard.get(who)?.timer);
		heard.set(who, {
			payload,
			...(expiry > 0 && {
				timer: setTimeout(() => {
					heard.delete(who);
					show();
				}, expiry),
			}),
		});
		show();
		onWhisper?.(payload, userId);
	};

	const { send, cancel } = throttled(options, (payload: T) => {
		const joined = channel.value;
		// Elsewhere the server refuses it; and what is meant for this moment is not worth keeping.
		if (!joined?.subscription?.subscribed) return false;
		joined.whisper(event, payload);
		return true;
	});
	onScopeDispose(cancel, true);

	inBrowser('useWhisper', () => {
		watch(channel, (joined, _before, onCleanup) => {
			if (!joined) return;
			const unbinds = [
				listen(joined, `.client-${event}`, hear),
				// Who is gone doesn't type. Only on presence channels, where `id` is what `key` got.
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

/** `send` at most once in `throttle` milliseconds; `false` for what it holds back or throws away. */
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
