// Where the others are. What they whisper is shown under the name that the server vouches for.

import { applyAwarenessUpdate, Awareness, encodeAwarenessUpdate, modifyAwarenessUpdate, removeAwarenessStates } from 'y-protocols/awareness';
import type { User } from '../events';
import { decode, encode } from './base64';

/** What a page whispers. */
export interface Whispered {
	update: string;
}

interface Change {
	added: number[];
	updated: number[];
	removed: number[];
}

/** How many colours there are: `.caret-0` and so on. */
export const COLORS = 6;
export const colorOf = (id: number): number => id % COLORS;
/** No document has so many windows, and no honest whisper is so long. */
const MAX_WHISPER = 4000;

export class Cursors {
	/** Whose they are, by the ids of Yjs. */
	readonly #owners = new Map<number, string>();

	constructor(readonly awareness: Awareness, whisper: (whispered: Whispered) => void) {
		awareness.on('update', (_: Change, origin: unknown) => {
			if (origin === 'local') whisper(this.own());
		});
	}

	/** Where this page's cursor is. */
	own(): Whispered {
		return { update: encode(encodeAwarenessUpdate(this.awareness, [this.awareness.clientID])) };
	}

	/** That it is nowhere any more. */
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
			// Not ours to complain about: whoever is in the channel may whisper anything.
		} finally {
			this.awareness.off('update', note);
		}
	}

	/** A user has left, with all windows. */
	drop(user: User): void {
		const theirs = [...this.#owners].filter(([, owner]) => owner === String(user.id)).map(([client]) => client);
		for (const client of theirs) this.#owners.delete(client);
		removeAwarenessStates(this.awareness, theirs, 'left');
	}
}
