// Retries of what the application's backend could not authorize at that moment. pusher-js asks once per connection.

import type { SubscriptionError } from './composables/subscription.js';

/** First and longest pause before a retry, in ms. */
const FIRST = 1_000;
const LONGEST = 30_000;

/**
 * Whether the backend may authorize a later request: it was unreachable, busy or restarting. A handler of the
 * application (`customHandler`) gives no status. The server's own rejections are of other types, and final.
 */
export function isTemporary({ type, status }: SubscriptionError): boolean {
	if (type !== 'AuthError') return false;
	return status === undefined || status === 0 || status >= 500 || [408, 425, 429].includes(status);
}

/** One pending retry, after growing pauses. */
export class Retry {
	#attempt = 0;
	#timer: ReturnType<typeof setTimeout> | undefined;

	/** Schedules a retry, unless there is one. */
	later(work: () => void): void {
		if (this.#timer !== undefined) return;
		const pause = Math.min(FIRST * 2 ** this.#attempt, LONGEST);
		this.#attempt += 1;
		// Spread, since all pages lost the backend at the same moment.
		this.#timer = setTimeout(() => {
			this.#timer = undefined;
			work();
		}, pause * (0.5 + Math.random() / 2));
	}

	/** Cancels the retry. The next pause is the first one again. */
	reset(): void {
		clearTimeout(this.#timer);
		this.#timer = undefined;
		this.#attempt = 0;
	}
}
