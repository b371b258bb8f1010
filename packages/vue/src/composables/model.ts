import { ModelRecord, type ModelId, type ModelOptions, type PrivateChannel } from '@clarim/js/echo';
import { toValue, watch, type MaybeRefOrGetter, type ShallowRef } from 'vue';
import { usePrivateChannel, type ChannelRef } from './channel.js';
import { inBrowser } from '../lifetime.js';
import { observed } from '../observed.js';

/**
 * Keeps a record in sync with the database through its broadcasts (`BroadcastsEvents`): the events
 * `.OrderUpdated`, `.OrderDeleted`, … on the channel `App.Models.Order.7`.
 */
export function useModel<T extends object>(
	/** The model's class, `App.Models.Order`. */
	name: string,
	id: MaybeRefOrGetter<ModelId>,
	options: ModelOptions<T> = {},
): {
	channel: ChannelRef<PrivateChannel>;
	/** `null` until it is loaded, and after it is deleted. You may set an initial value. */
	model: ShallowRef<T | null>;
	/** Error of the last `load`. */
	error: Readonly<ShallowRef<unknown>>;
} {
	const record = new ModelRecord<T>(name, () => toValue(id), () => options);
	const [model, error] = [observed(record.model), observed(record.error)];

	const channel = usePrivateChannel(record.channelName);
	// Synchronously, so that a value set right after the id is kept.
	watch(record.id, () => record.reset(), { flush: 'sync' });
	inBrowser('useModel', () => {
		watch(channel, (joined, _before, onCleanup) => {
			if (joined) onCleanup(record.follow(joined));
		}, { immediate: true, flush: 'sync' });
	});

	return { channel, model, error };
}
