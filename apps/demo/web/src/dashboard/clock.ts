// How far this computer's clock is from the server's.

import type { ServerTime } from '../events';
import { api } from '../session';

export interface Clock {
	/** To be added to this computer's time to have the server's, in milliseconds. */
	offset: number;
	/** It is not further off than this. */
	error: number;
	/** How often the server was asked. */
	count: number;
}

/** The time of this computer, which does not jump when its clock is set. */
export const localTime = (): number => performance.timeOrigin + performance.now();

/**
 * The answer was written at some time between question and answer: the offset is known to half of what the
 * round trip took. The shortest of several counts.
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
		// What the server says is cut to milliseconds: half of one more is unknown.
		if (!best || error + 0.5 < best.error) best = { offset: now + 0.5 - (asked + answered) / 2, error: error + 0.5, count };
	}
	return best!;
}
