import { shallowRef, toValue, watch, type MaybeRefOrGetter, type ShallowRef } from 'vue';
import { echoSource, type EncryptedChannel, type PrivateChannel, type PublicChannel } from './echo.js';
import type { DeclaredEvents, EventHandlers } from './events.js';
import { inBrowser } from './lifetime.js';
import { listenToEach, type Unbind } from './listeners.js';
import { hold, type ChannelKind, type ChannelKinds } from './subscriptions.js';

/** A channel's name without its prefix. While there is none (nobody is logged in yet), nothing is joined. */
export type ChannelName = MaybeRefOrGetter<string | null | undefined | false | 0>;

/** Echo's channel; `null` before the component is mounted, on the server, and while there is no name. */
export type ChannelRef<C> = Readonly<ShallowRef<C | null>>;

/**
 * Holds the channel called `name` for as long as the component lives. `attach` listens to each channel that
 * the name comes to mean, and returns how that ends.
 */
export function followChannel<K extends ChannelKind>(
	composable: string, kind: K, name: ChannelName, attach: (channel: ChannelKinds[K]) => Unbind[],
): ChannelRef<ChannelKinds[K]> {
	const channel = shallowRef(null) as ShallowRef<ChannelKinds[K] | null>;
	const echo = echoSource();
	inBrowser(composable, () => {
		watch(() => toValue(name), (now, _before, onCleanup) => {
			if (!now) return;
			const lease = hold(echo(), kind, now);
			const unbinds = attach(lease.channel);
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

/** Joins a public channel and listens to `events`. */
export function useChannel<E extends object = DeclaredEvents>(
	name: ChannelName, events: EventHandlers<NoInfer<E>> = {},
): ChannelRef<PublicChannel> {
	return followChannel('useChannel', 'public', name, (channel) => listenToEach(channel, events));
}

/** Joins a private channel and listens to `events`. */
export function usePrivateChannel<E extends object = DeclaredEvents>(
	name: ChannelName, events: EventHandlers<NoInfer<E>> = {},
): ChannelRef<PrivateChannel> {
	return followChannel('usePrivateChannel', 'private', name, (channel) => listenToEach(channel, events));
}

/**
 * Joins a private channel whose events are encrypted from end to end, and listens to `events`. pusher-js
 * decrypts them if it has TweetNaCl: `app.use(ClarimVue, { nacl })`.
 */
export function useEncryptedChannel<E extends object = DeclaredEvents>(
	name: ChannelName, events: EventHandlers<NoInfer<E>> = {},
): ChannelRef<EncryptedChannel> {
	const attach = (channel: EncryptedChannel): Unbind[] => listenToEach(channel, events);
	return followChannel('useEncryptedChannel', 'encrypted', name, attach);
}
