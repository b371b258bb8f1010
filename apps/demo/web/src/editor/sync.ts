// Synchronizes a Yjs document with the backend, and so with all users. It knows neither channel nor page: received
// messages are passed in, and two functions call the backend.

import * as Y from 'yjs';
import type { DocumentState, DocumentUpdated, UpdateStored } from '../events';
import { decode, encode } from './base64';

export interface Backend {
	/** Loads the updates that this page lacks; `state` is its state vector. */
	sync: (state: string) => Promise<DocumentState>;
	/** Stores an update and broadcasts it to the others. `isLast`: the request must outlive the page. */
	save: (update: string, isLast?: boolean) => Promise<UpdateStored>;
	/** Whether a retry may help. */
	isTemporary: (error: unknown) => boolean;
	/** Whether the backend lacks updates that this one depends on. */
	isIncomplete: (error: unknown) => boolean;
}

/** Storage for unsent edits, so that a reload of the page keeps them. */
export interface Shelf {
	get: () => string | null;
	set: (update: string | null) => void;
}

export interface SyncStatus {
	/** The backend's document has been loaded. */
	isLoaded: boolean;
	/** There are edits that the backend doesn't have. */
	isUnsaved: boolean;
	/** The last request failed. */
	error: unknown;
}

export interface SyncOptions {
	/** Time in ms over which edits are batched. */
	together?: number;
	/** Time before a retry, in ms. */
	retry?: number;
	/** Time to wait for a missing update before requesting it. */
	patience?: number;
}

export class DocumentSync {
	status: SyncStatus = { isLoaded: false, isUnsaved: false, error: null };
	/** In order; the first of them may be in flight. */
	#unsent: Uint8Array[] = [];
	/** All updates up to this number have been applied. */
	#last = 0;
	/** Applied updates with higher numbers. */
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
		const kept = this.#kept();
		if (kept) {
			this.#unsent.push(kept);
			this.status.isUnsaved = true;
		}
		doc.on('update', this.#edited);
	}

	/** Unsent edits of an earlier page. A storage may be forbidden, and its content may be of anybody. */
	#kept(): Uint8Array | null {
		try {
			const kept = this.shelf.get();
			if (!kept) return null;
			const update = decode(kept);
			Y.applyUpdate(this.doc, update, this);
			return update;
		} catch {
			return null;
		}
	}

	/** Stops all requests. Unsent edits stay in the storage. */
	stop(): void {
		this.#isStopped = true;
		this.doc.off('update', this.#edited);
		for (const timer of this.#timers.values()) clearTimeout(timer);
		if (this.#unsent.length) this.#keep();
	}

	/** Handles a broadcast update, or the announcement of one that is too long for an event. */
	receive({ seq, update }: DocumentUpdated): void {
		if (update === null) {
			if (seq > this.#last) void this.exchange();
			return;
		}
		Y.applyUpdate(this.doc, decode(update), this);
		this.#heard(seq);
	}

	/** Exchanges missing updates with the backend in both directions. */
	exchange(): Promise<void> {
		this.#isWantedAgain = this.#exchange !== null;
		this.#exchange ??= this.#exchangeAll().finally(() => {
			this.#exchange = null;
		});
		return this.#exchange;
	}

	/**
	 * Keeps and sends what has just been typed, because the page is going away. The request must outlive the page; its
	 * response is not awaited.
	 */
	leave(): void {
		if (!this.#unsent.length || this.#isStopped) return;
		this.#keep();
		this.backend.save(encode(Y.mergeUpdates(this.#unsent)), true).catch(() => {
			// The next page sends it again from the storage.
		});
	}

	/** Sends batched edits immediately. */
	flush(): Promise<void> {
		return this.#send();
	}

	async #exchangeAll(): Promise<void> {
		do {
			this.#isWantedAgain = false;
			try {
				const before = this.#last;
				const known = await this.backend.sync(encode(Y.encodeStateVector(this.doc)));
				if (this.#isStopped) return;
				Y.applyUpdate(this.doc, decode(known.update), this);
				// Restored from a backup: the numbers begin lower, and its number counts.
				if (known.seq < before) {
					this.#last = known.seq;
					this.#ahead.clear();
				}
				this.#skipTo(known.seq);
				const theirs = decode(known.state);
				// Deletions aren't part of the state vector; unsent ones are in `unsent`.
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
		// Before the first load, the exchange will fetch it.
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
		// An earlier update may still be in flight.
		if (this.#ahead.size) this.#later('gap', this.#wait.patience, () => void (this.#ahead.size && this.exchange()));
	}

	#skipTo(seq: number): void {
		this.#last = Math.max(this.#last, seq);
		while (this.#ahead.delete(this.#last + 1)) this.#last += 1;
		for (const one of this.#ahead) if (one <= this.#last) this.#ahead.delete(one);
	}

	/** A copy for a reload of the page. Edits are sent without it too. */
	#keep(): void {
		try {
			this.shelf.set(this.#unsent.length ? encode(Y.mergeUpdates(this.#unsent)) : null);
		} catch {
			// The storage is full or forbidden.
		}
	}

	#say(change: Partial<SyncStatus>): void {
		this.status = { ...this.status, ...change, isUnsaved: this.#unsent.length > 0 };
		this.onStatus(this.status);
	}

	/** One timer per purpose; the first deadline counts, so that continuous typing is sent too. */
	#later(what: string, milliseconds: number, work: () => void): void {
		if (this.#timers.has(what) || this.#isStopped) return;
		this.#timers.set(what, setTimeout(() => {
			this.#timers.delete(what);
			work();
		}, milliseconds));
	}
}
