// Cursors of the other users. A whispered cursor is shown with the user name that the server reports.

import { applyAwarenessUpdate, Awareness, encodeAwarenessUpdate, modifyAwarenessUpdate, removeAwarenessStates } from 'y-protocols/awareness';
import type { User } from '../events';
import { decode, encode } from './base64';

/** Payload of a cursor whisper. */
export interface Whispered {
	update: string;
}

interface Change {
	added: number[];
	updated: number[];
	removed: number[];
}

/** Number of colours: `.caret-0` and so on. */
export const COLORS = 6;
export const colorOf = (id: number): number => id % COLORS;
/** Limits that no legitimate whisper exceeds. */
const MAX_WHISPER = 4000;

export class Cursors {
	/** Users by Yjs client id. */
	readonly #owners = new Map<number, string>();

	constructor(readonly awareness: Awareness, whisper: (whispered: Whispered) => void) {
		awareness.on('update', (_: Change, origin: unknown) => {
			if (origin === 'local') whisper(this.own());
		});
	}

	/** Position of this page's cursor. */
	own(): Whispered {
		return { update: encode(encodeAwarenessUpdate(this.awareness, [this.awareness.clientID])) };
	}

	/** Announces that this page's cursor is gone. */
	gone(): Whispered {
		this.awareness.setLocalState(null);
		return this.own();
	}

	hear({ update }: Whispered, user: User | undefined): void {
		if (!user || typeof update !== 'string' || update.length > MAX_WHISPER) return;
		const note = ({ added, updated }: Change): void => {
			for (const client of [...added, ...updated]) this.#owners.set(client, String(user.id));
		};
		this.awareness.on('update', note);
		try {
			const named = modifyAwarenessUpdate(decode(update), (state: { cursor?: unknown } | null) => state && {
				cursor: state.cursor ?? null,
				user: { name: user.name, color: '#000000', look: colorOf(user.id) },
			});
			applyAwarenessUpdate(this.awareness, named, 'whisper');
		} catch {
			// Ignored: any member of the channel can whisper anything.
		} finally {
			this.awareness.off('update', note);
		}
	}

	/** Removes a user whose last window has closed. */
	drop(user: User): void {
		const theirs = [...this.#owners].filter(([, owner]) => owner === String(user.id)).map(([client]) => client);
		for (const client of theirs) this.#owners.delete(client);
		removeAwarenessStates(this.awareness, theirs, 'left');
	}
}
