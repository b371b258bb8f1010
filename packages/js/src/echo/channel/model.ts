import type { PrivateChannel } from '../echo.js';
import { all, listen, type Unbind } from '../listeners.js';
import { Store } from '../store.js';
import { loadWhenJoined } from './load.js';

/** The model events that Laravel broadcasts. */
export type ModelEvent = 'Created' | 'Updated' | 'Trashed' | 'Restored' | 'Deleted';

export interface ModelOptions<T> {
	/**
	 * Loads the model from the backend. Called after the subscription to each new id, and when events were missed
	 * that the server does not replay.
	 */
	load?: (id: string) => Promise<T | null>;
	/** Called with the model after the event. */
	events?: { [Event in ModelEvent]?: (model: T) => void };
}

const EVENTS: ModelEvent[] = ['Created', 'Updated', 'Trashed', 'Restored', 'Deleted'];

export type ModelId = string | number | null | undefined;

/** A record that follows its broadcasts. */
export class ModelRecord<T extends object> {
	/** `null` until it is loaded, and after it is deleted. */
	readonly model = new Store<T | null>(null);
	/** Error of the last `load`. */
	readonly error = new Store<unknown>(null);
	readonly #class: string;
	readonly #id: () => ModelId;
	readonly #options: () => ModelOptions<T>;
	/** Version counter: a response of the backend is discarded if the version has changed since the request. */
	#changes = 0;

	/** `name` is the model's class, `App.Models.Order`. */
	constructor(name: string, id: () => ModelId, options: () => ModelOptions<T>) {
		this.#class = name.replaceAll('\\', '.');
		this.#id = id;
		this.#options = options;
	}

	/** Returns the id. `null` while there is no record. */
	readonly id = (): string | null => {
		const id = this.#id();
		return id === null || id === undefined || id === '' ? null : String(id);
	};

	/** Returns the name of the record's channel. */
	readonly channelName = (): string | null => {
		const id = this.id();
		return id === null ? null : `${this.#class}.${id}`;
	};

	/** Forgets the record, for another id. */
	reset(): void {
		this.#changes += 1;
		this.model.set(null);
	}

	/** Loads the record, and listens to its events. */
	follow(channel: PrivateChannel): Unbind {
		const base = this.#class.slice(this.#class.lastIndexOf('.') + 1);
		const on = (event: ModelEvent) => (payload: { model: T }): void => {
			this.#changes += 1;
			this.model.set(event === 'Deleted' || event === 'Trashed' ? null : payload.model);
			this.#options().events?.[event]?.(payload.model);
		};
		return all([
			...EVENTS.map((event) => listen(channel, `.${base}${event}`, on(event))),
			loadWhenJoined(channel, async () => {
				await this.#load();
				return this.error.get() === null;
			}),
			// A late response is for a component that no longer uses the channel.
			() => {
				this.#changes += 1;
			},
		]);
	}

	async #load(): Promise<void> {
		const [asked, wanted, { load }] = [++this.#changes, this.id(), this.#options()];
		if (!load || wanted === null) return;
		try {
			const found = await load(wanted);
			if (asked !== this.#changes) return;
			this.model.set(found);
			this.error.set(null);
		} catch (problem) {
			if (asked === this.#changes) this.error.set(problem);
		}
	}
}
