// Cost and delay of one mode (push or polling).

export class Tally {
	requests = 0;
	/** Responses without new data. */
	empty = 0;
	bytes = 0;
	updates = 0;
	/** Delays from measurement to screen, in ms. */
	delays: number[] = [];
	/** Measured time in ms without the current period. */
	#time = 0;
	#since: number | null = null;

	start(now: number): void {
		this.#since ??= now;
	}

	stop(now: number): void {
		this.#time = this.time(now);
		this.#since = null;
	}

	get isOn(): boolean {
		return this.#since !== null;
	}

	/** Milliseconds. */
	time(now: number): number {
		return this.#time + (this.#since === null ? 0 : now - this.#since);
	}

	perMinute(count: number, now: number): number | null {
		const time = this.time(now);
		// A rate of the first seconds would mislead.
		return time < 60_000 ? null : (count * 60_000) / time;
	}

	get median(): number | null {
		const sorted = [...this.delays].sort((a, b) => a - b);
		const middle = sorted.length >> 1;
		if (!sorted.length) return null;
		return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
	}

	get worst(): number | null {
		return this.delays.length ? Math.max(...this.delays) : null;
	}
}

/** Size of a text frame from the server; its header has 2, 4 or 10 bytes. */
export function frameSize(text: string): number {
	const { length } = new TextEncoder().encode(text);
	return length + (length < 126 ? 2 : length < 65_536 ? 4 : 10);
}

/** Reconstructs the server's frame of an event, because pusher-js exposes only its content. */
export const frameOf = ({ event, channel, data }: { event: string; channel?: string; data?: unknown }): string =>
	JSON.stringify({ event, data: JSON.stringify(data ?? {}), channel });
