import type { Unbind } from './listeners.js';

/** A value whose changes can be observed. */
export interface Readable<T> {
	get: () => T;
	subscribe: (listener: () => void) => Unbind;
}

/** A value that tells its listeners when it is set. Front-end frameworks observe it in their own way. */
export class Store<T> implements Readable<T> {
	#value: T;
	readonly #listeners = new Set<() => void>();

	constructor(value: T) {
		this.#value = value;
	}

	// As fields, so that they can be passed without the object.
	readonly get = (): T => this.#value;

	readonly set = (value: T): void => {
		this.#value = value;
		for (const listener of [...this.#listeners]) listener();
	};

	readonly subscribe = (listener: () => void): Unbind => {
		// Its own function, so that a listener can be added twice.
		const own = (): void => listener();
		this.#listeners.add(own);
		return () => void this.#listeners.delete(own);
	};
}
