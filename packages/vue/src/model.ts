import { shallowRef, toValue, watch, type MaybeRefOrGetter, type ShallowRef } from 'vue';
import { usePrivateChannel, type ChannelRef } from './channel.js';
import type { PrivateChannel } from './echo.js';
import { inBrowser } from './lifetime.js';
import { listen } from './listeners.js';
import { loadWhenJoined } from './load.js';

/** What Laravel broadcasts of a model. */
export type ModelEvent = 'Created' | 'Updated' | 'Trashed' | 'Restored' | 'Deleted';

export interface ModelOptions<T> {
	/**
	 * Asks the backend for the model: when its channel is joined, so for each new id, and again after the
	 * connection was lost.
	 */
	load?: (id: string) => Promise<T | null>;
	/** Called with the model as it is after the event. */
	events?: { [Event in ModelEvent]?: (model: T) => void };
}

/**
 * A record that stays as it is in the database, by what is broadcast of it (`BroadcastsEvents`): the channel
 * `App.Models.Order.7`, the events `.OrderUpdated`, `.OrderDeleted`, ….
 */
export function useModel<T extends object>(
	/** Its class, `App.Models.Order`. */
	name: string,
	id: MaybeRefOrGetter<string | number | null | undefined>,
	options: ModelOptions<T> = {},
): {
	channel: ChannelRef<PrivateChannel>;
	/** `null` until it is known, and when it is deleted. You may set it to what you have at hand. */
	model: ShallowRef<T | null>;
	/** Why the last `load` failed. */
	error: Readonly<ShallowRef<unknown>>;
} {
	const dotted = name.replaceAll('\\', '.');
	const base = dotted.slice(dotted.lastIndexOf('.') + 1);
	const model = shallowRef(null) as ShallowRef<T | null>;
	const error = shallowRef<unknown>(null);
	/** Counts what is newer than an answer of the backend that is still on its way. */
	let changes = 0;

	const current = (): string | null => {
		const value = toValue(id);
		return value === null || value === undefined || value === '' ? null : String(value);
	};

	async function load(): Promise<void> {
		const [asked, wanted] = [++changes, current()];
		if (!options.load || wanted === null) return;
		try {
			const found = await options.load(wanted);
			if (asked !== changes) return;
			model.value = found;
			error.value = null;
		} catch (problem) {
			if (asked === changes) error.value = problem;
		}
	}

	const on = (event: ModelEvent) => (payload: { model: T }): void => {
		changes += 1;
		model.value = event === 'Deleted' || event === 'Trashed' ? null : payload.model;
		options.events?.[event]?.(payload.model);
	};

	const channel = usePrivateChannel(() => {
		const value = current();
		return value === null ? null : `${dotted}.${value}`;
	});
	// At once, so that what is set after the id stays.
	watch(current, () => {
		changes += 1;
		model.value = null;
	}, { flush: 'sync' });
	loadWhenJoined(channel, () => void load());
	inBrowser('useModel', () => {
		watch(channel, (joined, _before, onCleanup) => {
			if (!joined) return;
			const events: ModelEvent[] = ['Created', 'Updated', 'Trashed', 'Restored', 'Deleted'];
			const unbinds = events.map((event) => listen(joined, `.${base}${event}`, on(event)));
			onCleanup(() => {
				for (const unbind of unbinds) unbind();
			});
		}, { immediate: true, flush: 'sync' });
	});

	return { channel, model, error };
}
