import type { Gap } from '@clarim/js';
import {
	hold, listenToEach, listenToGaps, type ChannelKind, type ChannelKinds, type EncryptedChannel, type PrivateChannel,
	type PublicChannel, type Unbind,
} from '@clarim/js/echo';
import { shallowRef, toValue, watch, type MaybeRefOrGetter, type ShallowRef } from 'vue';
import { echoSource } from '../echo.js';
import type { DeclaredEvents, EventHandlers } from '../events.js';
import { inBrowser } from '../lifetime.js';

/** A channel name without its prefix. With `null` (for example before the login) there is no subscription. */
export type ChannelName = MaybeRefOrGetter<string | null | undefined | false | 0>;

/** Echo's channel. `null` before the component is mounted, on the server, and while the name is `null`. */
export type ChannelRef<C> = Readonly<ShallowRef<C | null>>;

export interface ChannelOptions {
	/**
	 * Called when events of the channel were missed that the server does not replay. Fetch the current state there:
	 * later events arrive over the channel. A server without history for the channel replays nothing, so there it
	 * is called after each interruption.
	 */
	onMissed?: (gap: Gap) => void;
}

/**
 * Holds the channel `name` until the component is unmounted. `attach` runs for each channel that the name
 * changes to, and returns the clean-up function.
 */
export function followChannel<K extends ChannelKind>(
	composable: string, kind: K, name: ChannelName, attach: (channel: ChannelKinds[K]) => Unbind[],
	{ onMissed }: ChannelOptions = {},
): ChannelRef<ChannelKinds[K]> {
	const channel = shallowRef(null) as ShallowRef<ChannelKinds[K] | null>;
	const echo = echoSource();
	inBrowser(composable, () => {
		watch(() => toValue(name), (now, _before, onCleanup) => {
			if (!now) return;
			const lease = hold(echo(), kind, now);
			const unbinds = [...attach(lease.channel), listenToGaps(lease.channel, onMissed)];
			channel.value = lease.channel;
			onCleanup(() => {
				channel.value = null;
				for (const unbind of unbinds) unbind();
				lease.release();
			});
		}, { immediate: true });
	});
	return channel;
}

/** Subscribes to a public channel and listens to `events`. */
export function useChannel<E extends object = DeclaredEvents>(
	name: ChannelName, events: EventHandlers<NoInfer<E>> = {}, options?: ChannelOptions,
): ChannelRef<PublicChannel> {
	return followChannel('useChannel', 'public', name, (channel) => listenToEach(channel, events), options);
}

/** Subscribes to a private channel and listens to `events`. */
export function usePrivateChannel<E extends object = DeclaredEvents>(
	name: ChannelName, events: EventHandlers<NoInfer<E>> = {}, options?: ChannelOptions,
): ChannelRef<PrivateChannel> {
	return followChannel('usePrivateChannel', 'private', name, (channel) => listenToEach(channel, events), options);
}

/**
 * Subscribes to an end-to-end encrypted private channel and listens to `events`. pusher-js needs TweetNaCl to
 * decrypt them: `app.use(ClarimVue, { nacl })`.
 */
export function useEncryptedChannel<E extends object = DeclaredEvents>(
	name: ChannelName, events: EventHandlers<NoInfer<E>> = {}, options?: ChannelOptions,
): ChannelRef<EncryptedChannel> {
	const attach = (channel: EncryptedChannel): Unbind[] => listenToEach(channel, events);
	return followChannel('useEncryptedChannel', 'encrypted', name, attach, options);
}
