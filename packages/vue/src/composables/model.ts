import { shallowRef, toValue, watch, type MaybeRefOrGetter, type ShallowRef } from 'vue';
import { usePrivateChannel, type ChannelRef } from './channel.js';
import type { PrivateChannel } from '../echo.js';
import { inBrowser } from '../lifetime.js';
import { listen } from '../listeners.js';
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

/**
 * Keeps a record in sync with the database through its broadcasts (`BroadcastsEvents`): the events
 * `.OrderUpdated`, `.OrderDeleted`, … on the channel `App.Models.Order.7`.
 */
export function useModel<T extends object>(
	/** The model's class, `App.Models.Order`. */
	name: string,
	id: MaybeRefOrGetter<string | number | null | undefined>,
	options: ModelOptions<T> = {},
): {
	channel: ChannelRef<PrivateChannel>;
	/** `null` until it is loaded, and after it is deleted. You may set an initial value. */
	model: ShallowRef<T | null>;
	/** Error of the last `load`. */
	error: Readonly<ShallowRef<unknown>>;
} {
	const dotted = name.replaceAll('\\', '.');
	const base = dotted.slice(dotted.lastIndexOf('.') + 1);
	const model = shallowRef(null) as ShallowRef<T | null>;
	const error = shallowRef<unknown>(null);
	/** Version counter: a response of the backend is discarded if the version has changed since the request. */
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
	// Synchronously, so that a value set right after the id is kept.
	watch(current, () => {
		changes += 1;
		model.value = null;
	}, { flush: 'sync' });
	loadWhenJoined(channel, async () => {
		await load();
		return error.value === null;
	});
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
