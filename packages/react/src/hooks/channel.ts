import type { Gap } from '@clarim/js';
import {
	all, hold, listenToEach, listenToGaps, Store, type ChannelKind, type ChannelKinds, type EncryptedChannel,
	type PrivateChannel, type PublicChannel, type Unbind,
} from '@clarim/js/echo';
import { useEffect, useMemo } from 'react';
import type { DeclaredEvents, EventHandlers } from '../events.js';
import { useSource } from '../provider.js';
import { latestHandlers, namesOf, useLatest, useStore } from '../state.js';

/** A channel name without its prefix. With `null` (for example before the login) there is no subscription. */
export type ChannelName = string | null | undefined | false | 0;

export interface ChannelOptions {
	/**
	 * Called when events of the channel were missed that the server does not replay. Fetch the current state there:
	 * later events arrive over the channel. A server without history for the channel replays nothing, so there it
	 * is called after each interruption.
	 */
	onMissed?: ((gap: Gap) => void) | undefined;
}

/**
 * Holds the channel `name` until the component is unmounted, and listens to `events`. `attach` runs for each channel
 * that the name changes to, and returns the clean-up function. Returns `null` until the effects have run.
 */
export function useHeldChannel<K extends ChannelKind>(
	kind: K, name: ChannelName, events: object, { onMissed }: ChannelOptions,
	attach?: (channel: ChannelKinds[K]) => Unbind,
): ChannelKinds[K] | null {
	const source = useSource();
	const wanted = name || null;
	const keys = [source, kind, wanted];
	// One per name, so that a render with another name never shows the channel of the former one.
	const held = useMemo(() => new Store<ChannelKinds[K] | null>(null), keys);
	const latest = useLatest({ events, onMissed }, keys);
	useEffect(() => {
		if (!wanted) return undefined;
		const lease = hold(source.get(), kind, wanted);
		const unbind = all([
			listenToGaps(lease.channel, (gap) => latest.current?.onMissed?.(gap)),
			attach?.(lease.channel) ?? (() => {}),
		]);
		held.set(lease.channel);
		return () => {
			unbind();
			held.set(null);
			lease.release();
		};
	}, [held]);
	const names = namesOf(events);
	useEffect(() => {
		const channel = held.get();
		if (!channel) return undefined;
		return all(listenToEach(channel, latestHandlers(names, () => latest.current?.events)));
	}, [held, names]);
	return useStore(held);
}

/** Subscribes to a public channel and listens to `events`. */
export function useChannel<E extends object = DeclaredEvents>(
	name: ChannelName, events: EventHandlers<NoInfer<E>> = {}, options: ChannelOptions = {},
): PublicChannel | null {
	return useHeldChannel('public', name, events, options);
}

/** Subscribes to a private channel and listens to `events`. */
export function usePrivateChannel<E extends object = DeclaredEvents>(
	name: ChannelName, events: EventHandlers<NoInfer<E>> = {}, options: ChannelOptions = {},
): PrivateChannel | null {
	return useHeldChannel('private', name, events, options);
}

/**
 * Subscribes to an end-to-end encrypted private channel and listens to `events`. pusher-js needs TweetNaCl to
 * decrypt them: `<ClarimProvider options={{ nacl }}>`.
 */
export function useEncryptedChannel<E extends object = DeclaredEvents>(
	name: ChannelName, events: EventHandlers<NoInfer<E>> = {}, options: ChannelOptions = {},
): EncryptedChannel | null {
	return useHeldChannel('encrypted', name, events, options);
}
