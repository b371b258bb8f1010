import { ModelRecord, type ModelId, type ModelOptions, type PrivateChannel } from '@clarim/js/echo';
import { useMemo } from 'react';
import { useHeldChannel } from './channel.js';
import { useSource } from '../provider.js';
import { useLatest, useStore } from '../state.js';

/**
 * Keeps a record in sync with the database through its broadcasts (`BroadcastsEvents`): the events
 * `.OrderUpdated`, `.OrderDeleted`, … on the channel `App.Models.Order.7`.
 */
export function useModel<T extends object>(
	/** The model's class, `App.Models.Order`. */
	name: string,
	id: ModelId,
	options: ModelOptions<T> = {},
): {
	channel: PrivateChannel | null;
	/** `null` until it is loaded, and after it is deleted. */
	model: T | null;
	/** Sets the record, for example to an initial value. */
	setModel: (model: T | null) => void;
	/** Error of the last `load`. */
	error: unknown;
} {
	const keys = [useSource(), name, id];
	const latest = useLatest(options, keys);
	const record = useMemo(() => new ModelRecord<T>(name, () => id, () => latest.current ?? {}), keys);
	const channel = useHeldChannel('private', record.channelName(), {}, {}, (joined) => record.follow(joined));
	return { channel, model: useStore(record.model), setModel: record.model.set, error: useStore(record.error) };
}
