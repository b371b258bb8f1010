// Keeps a Yjs document the same as the backend's, and so as everybody's. Knows no channel and no page: it is
// told what was heard, and asks the backend by two functions.

import * as Y from 'yjs';
import type { DocumentState, DocumentUpdated, UpdateStored } from '../events';
import { decode, encode } from './base64';

export interface Backend {
	/** What this page does not have; `state` says what it has. */
	sync: (state: string) => Promise<DocumentState>;
	/** Stores an update, and tells the others. */
	save: (update: string) => Promise<UpdateStored>;
	/** Whether asking again later may help. */
	isTemporary: (error: unknown) => boolean;
	/** Whether the backend lacks what an update continues. */
	isIncomplete: (error: unknown) => boolean;
}

/** Where edits wait that the backend does not have: a reload of the page doesn't lose them. */
export interface Shelf {
	get: () => string | null;
	set: (update: string | null) => void;
}

export interface SyncStatus {
	/** What the backend had has been here once. */
	isLoaded: boolean;
	/** There is something that the backend does not have. */
	isUnsaved: boolean;
	/** The last request did not come through. */
	error: unknown;
}

export interface SyncOptions {
	/** Edits of so many milliseconds are sent together. */
	together?: number;
	/** Before it is tried again, in milliseconds. */
	retry?: number;
	/** How long an update may be late before it is asked for. */
	patience?: number;
}

export class DocumentSync {
	status: SyncStatus = { isLoaded: false, isUnsaved: false, error: null };
	/** In order; the first of them may be on their way. */
	#unsent: Uint8Array[] = [];
	/** All updates up to this number are here. */
	#last = 0;
	/** Numbers above it that are here too. */
	#ahead = new Set<number>();
	#isSending = false;
	#exchange: Promise<void> | null = null;
	#isWantedAgain = false;
	#isStopped = false;
	readonly #timers = new Map<string, ReturnType<typeof setTimeout>>();
	readonly #wait: Required<SyncOptions>;

	constructor(
		readonly doc: Y.Doc, readonly backend: Backend, readonly shelf: Shelf,
		readonly onStatus: (status: SyncStatus) => void, options: SyncOptions = {},
	) {
		this.#wait = { together: 120, retry: 2000, patience: 1000, ...options };
		const kept = shelf.get();
		if (kept) {
			const update = decode(kept);
			this.#unsent.push(update);
			Y.applyUpdate(doc, update, this);
			this.status.isUnsaved = true;
		}
		doc.on('update', this.#edited);
	}

	/** No more requests. What is not sent stays on the shelf. */
	stop(): void {
		this.#isStopped = true;
		this.doc.off('update', this.#edited);
		for (const timer of this.#timers.values()) clearTimeout(timer);
		if (this.#unsent.length) this.#keep();
	}

	/** An update that was broadcast, or that there is one. */
	receive({ seq, update }: DocumentUpdated): void {
		if (update === null) {
			if (seq > this.#last) void this.exchange();
			return;
		}
		Y.applyUpdate(this.doc, decode(update), this);
		this.#heard(seq);
	}

	/** Gets what is missing here, and sends what is missing there. */
	exchange(): Promise<void> {
		this.#isWantedAgain = this.#exchange !== null;
		this.#exchange ??= this.#exchangeAll().finally(() => {
			this.#exchange = null;
		});
		return this.#exchange;
	}

	/** Sends now what would be sent in a moment. */
	flush(): Promise<void> {
		return this.#send();
	}

	async #exchangeAll(): Promise<void> {
		do {
			this.#isWantedAgain = false;
			try {
				const known = await this.backend.sync(encode(Y.encodeStateVector(this.doc)));
				if (this.#isStopped) return;
				Y.applyUpdate(this.doc, decode(known.update), this);
				this.#skipTo(known.seq);
				const theirs = decode(known.state);
				// Deletions have no number in the state: those that are not sent are in `unsent`.
				if (this.#isAheadOf(theirs)) this.#unsent = [Y.encodeStateAsUpdate(this.doc, theirs)];
				this.#say({ isLoaded: true, error: null });
			} catch (error) {
				this.#failed(error, () => void this.exchange());
				return;
			}
		} while (this.#isWantedAgain && !this.#isStopped);
		await this.#send();
	}

	#isAheadOf(state: Uint8Array): boolean {
		const theirs = Y.decodeStateVector(state);
		return [...Y.decodeStateVector(Y.encodeStateVector(this.doc))].some(([client, clock]) => clock > (theirs.get(client) ?? 0));
	}

	readonly #edited = (update: Uint8Array, origin: unknown): void => {
		if (origin === this) return;
		this.#unsent.push(update);
		this.#say({});
		this.#later('send', this.#wait.together, () => {
			this.#keep();
			void this.#send();
		});
	};

	async #send(): Promise<void> {
		// Before anything is loaded the exchange will find it.
		if (this.#isSending || !this.status.isLoaded || !this.#unsent.length || this.#isStopped) return;
		this.#isSending = true;
		const sent = [...this.#unsent];
		try {
			const { seq } = await this.backend.save(encode(Y.mergeUpdates(sent)));
			this.#unsent = this.#unsent.filter((update) => !sent.includes(update));
			this.#keep();
			this.#say({ error: null });
			this.#heard(seq);
		} catch (error) {
			if (this.backend.isIncomplete(error)) this.#later('exchange', this.#wait.together, () => void this.exchange());
			else this.#failed(error, () => void this.#send());
			return;
		} finally {
			this.#isSending = false;
		}
		if (this.#unsent.length) this.#later('send', this.#wait.together, () => void this.#send());
	}

	#failed(error: unknown, again: () => void): void {
		this.#say({ error });
		if (this.backend.isTemporary(error)) this.#later('retry', this.#wait.retry, again);
	}

	#heard(seq: number): void {
		if (seq > this.#last) this.#ahead.add(seq);
		this.#skipTo(this.#last);
		// One that was sent before this may still be on its way.
		if (this.#ahead.size) this.#later('gap', this.#wait.patience, () => void (this.#ahead.size && this.exchange()));
	}

	#skipTo(seq: number): void {
		this.#last = Math.max(this.#last, seq);
		while (this.#ahead.delete(this.#last + 1)) this.#last += 1;
		for (const one of this.#ahead) if (one <= this.#last) this.#ahead.delete(one);
	}

	#keep(): void {
		this.shelf.set(this.#unsent.length ? encode(Y.mergeUpdates(this.#unsent)) : null);
	}

	#say(change: Partial<SyncStatus>): void {
		this.status = { ...this.status, ...change, isUnsaved: this.#unsent.length > 0 };
		this.onStatus(this.status);
	}

	/** One at a time of each; the first counts, so that who never stops typing is heard meanwhile. */
	#later(what: string, milliseconds: number, work: () => void): void {
		if (this.#timers.has(what) || this.#isStopped) return;
		this.#timers.set(what, setTimeout(() => {
			this.#timers.delete(what);
			work();
		}, milliseconds));
	}
}
