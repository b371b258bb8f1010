// Positions that survive a reload of the page.

import type { Position } from './position.js';

/** A position with the id of the connection that reached it. */
export interface Since extends Position {
	/** Events that excluded this connection (`toOthers`) are not replayed. */
	socket_id?: string;
}

/** Maximum number of stored channels. */
const LIMIT = 100;

/** Reads the positions of the tab's last page. */
export function load(key: string): [channel: string, since: Since][] {
	try {
		const stored: unknown = JSON.parse(sessionStorage.getItem(key) ?? '[]');
		return Array.isArray(stored) ? stored.filter((entry) => entry?.[1]?.epoch) : [];
	} catch {
		// Storage is forbidden, or somebody else wrote this key.
		return [];
	}
}

/** Writes the positions when the page is hidden or left. */
export function saveOnLeave(key: string, positions: () => [channel: string, since: Since][]): void {
	const save = (): void => {
		try {
			sessionStorage.setItem(key, JSON.stringify(positions().slice(-LIMIT)));
		} catch {
			// Storage is forbidden or full: the next page starts without positions.
		}
	};
	// A hidden page may be discarded without another event.
	for (const event of ['pagehide', 'visibilitychange']) globalThis.addEventListener?.(event, save);
}
