import type { PresenceChannel, PrivateChannel } from '../echo.js';
import { all, bind, listen, type Unbind } from '../listeners.js';
import { Store } from '../store.js';

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

type Timer = ReturnType<typeof setTimeout>;

/** Whispers of one name on a channel. */
export class Whispers<T extends object> {
	/** The last whisper of each other user within `expiry`. */
	readonly recent = new Store<readonly T[]>([]);
	readonly #event: string;
	readonly #options: () => WhisperOptions<T>;
	readonly #last = new Map<unknown, { payload: T; timer?: Timer }>();
	#channel: PrivateChannel | PresenceChannel | null = null;
	#pause: Timer | undefined;
	#held: { payload: T } | undefined;

	constructor(event: string, options: () => WhisperOptions<T>) {
		this.#event = event;
		this.#options = options;
	}

	/** Sends a whisper. Returns `false` if it was not sent now: throttled, or not subscribed. */
	readonly whisper = (payload: T): boolean => {
		const { throttle = 1000, trailing = false } = this.#options();
		if (this.#pause) {
			if (trailing) this.#held = { payload };
			return false;
		}
		// Without a subscription the server rejects it, and a whisper isn't worth queueing.
		if (!this.#channel?.subscription?.subscribed) return false;
		this.#channel.whisper(this.#event, payload);
		if (throttle > 0) this.#pause = setTimeout(() => this.#resume(), throttle);
		return true;
	};

	/** Removes matching whispers immediately, for example when the user's message has arrived. */
	readonly forget = (which: (payload: T) => boolean): void => {
		for (const [sender, { payload }] of this.#last) if (which(payload)) this.#drop(sender);
		this.#show();
	};

	/** Sends and receives whispers on this channel. */
	follow(channel: PrivateChannel | PresenceChannel): Unbind {
		this.#channel = channel;
		return all([
			listen(channel, `.client-${this.#event}`, (payload: T, data?: { user_id?: unknown }) => {
				this.#receive(payload, data?.user_id);
			}),
			// A user who left doesn't type. Presence channels only: there `id` is the default key.
			bind(channel.subscription, 'pusher:member_removed', ({ id }: { id: unknown }) => {
				this.#drop(String(id));
				this.#show();
			}),
			() => {
				this.#channel = null;
				clearTimeout(this.#pause);
				this.#pause = this.#held = undefined;
				this.forget(() => true);
			},
		]);
	}

	#receive(payload: T, id: unknown): void {
		const { expiry = 2000, key, onWhisper } = this.#options();
		// A number, if the application signed a number.
		const userId = id === undefined ? undefined : String(id);
		const sender = key ? key(payload, userId) : userId ?? JSON.stringify(payload);
		clearTimeout(this.#last.get(sender)?.timer);
		this.#last.set(sender, {
			payload,
			...(expiry > 0 && {
				timer: setTimeout(() => {
					this.#last.delete(sender);
					this.#show();
				}, expiry),
			}),
		});
		this.#show();
		onWhisper?.(payload, userId);
	}

	#show(): void {
		this.recent.set([...this.#last.values()].map(({ payload }) => payload));
	}

	#drop(sender: unknown): void {
		clearTimeout(this.#last.get(sender)?.timer);
		this.#last.delete(sender);
	}

	#resume(): void {
		const last = this.#held;
		this.#pause = this.#held = undefined;
		if (last) this.whisper(last.payload);
	}
}
