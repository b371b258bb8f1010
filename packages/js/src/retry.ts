/** First and longest pause before a retry, in ms. */
const FIRST = 1_000;
const LONGEST = 30_000;

/** The HTTP status of a failed request. 0 if there was no response, `undefined` if the application's handler gave none. */
export const statusOf = (error: Error): number | undefined => (error as { status?: number }).status;

/** An error with a status. pusher-js leaves out the status of errors that are not its own. */
export class AuthorizationError extends Error {
	constructor(readonly status: number, message: string) {
		super(message);
	}
}

/** Whether the backend may accept a later request: it was unreachable, busy or restarting. */
export function isTemporary(error: Error): boolean {
	const status = statusOf(error);
	// A 200 that can't be parsed, as from a proxy's maintenance page.
	return status === undefined || status < 300 || status >= 500 || [408, 425, 429].includes(status);
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
