// Offset between this computer's clock and the server's.

import type { ServerTime } from '../events';
import { api } from '../session';

export interface Clock {
	/** Server time minus local time, in ms. */
	offset: number;
	/** Maximum error of the offset, in ms. */
	error: number;
	/** Number of measurements. */
	count: number;
}

/** Returns the local monotonic time. */
export const localTime = (): number => performance.timeOrigin + performance.now();

/**
 * Measures the clock offset. The server's time was read at some moment of the round trip, so the error is half of the
 * round-trip time. The shortest of several round trips counts.
 */
export async function compareClocks(
	count = 5, ask: () => Promise<ServerTime> = () => api<ServerTime>('GET', '/api/time'), time: () => number = localTime,
): Promise<Clock> {
	let best: Clock | undefined;
	for (let left = count; left > 0; left -= 1) {
		const asked = time();
		const { now } = await ask();
		const answered = time();
		const error = (answered - asked) / 2;
		// The server truncates its time to milliseconds, which adds an error of half a millisecond.
		if (!best || error + 0.5 < best.error) best = { offset: now + 0.5 - (asked + answered) / 2, error: error + 0.5, count };
	}
	return best!;
}
