// Reference counts of channels: subscribes for the first holder, unsubscribes after the last one.

import type { EncryptedChannel, PresenceChannel, PrivateChannel, PublicChannel, PusherEcho } from '../echo.js';
import { bind, type Unbind } from '../listeners.js';

export interface ChannelKinds {
	public: PublicChannel;
	private: PrivateChannel;
	encrypted: EncryptedChannel;
	presence: PresenceChannel;
}

export type ChannelKind = keyof ChannelKinds;

const KINDS = {
	public: { prefix: '', open: (echo: PusherEcho, name: string) => echo.channel(name) },
	private: { prefix: 'private-', open: (echo: PusherEcho, name: string) => echo.private(name) },
	encrypted: {
		prefix: 'private-encrypted-',
		open: (echo: PusherEcho, name: string) => echo.encryptedPrivate(name),
	},
	presence: { prefix: 'presence-', open: (echo: PusherEcho, name: string) => echo.join(name) },
};

interface Entry {
	echo: PusherEcho;
	/** With its prefix, as on the wire. */
	name: string;
	channel: PublicChannel;
	holders: number;
	/** Whether the application subscribed to it itself; then we don't unsubscribe. */
	borrowed: boolean;
}

/** A channel that is held until `release`. */
export interface Lease<C> {
	channel: C;
	release: () => void;
}

const entries = new WeakMap<PusherEcho, Map<string, Entry>>();

const inEcho = (echo: PusherEcho, name: string): unknown => echo.connector.channels[name];

/** Subscribes to the channel, or shares an existing subscription. */
export function hold<K extends ChannelKind>(echo: PusherEcho, kind: K, name: string): Lease<ChannelKinds[K]> {
	const entry = find(echo, kind, name);
	entry.holders += 1;
	let held = true;
	return {
		channel: entry.channel as ChannelKinds[K],
		release() {
			if (!held) return;
			held = false;
			entry.holders -= 1;
			// Deferred: when one page replaces another, the next holder arrives in the same tick.
			if (entry.holders === 0) queueMicrotask(() => leaveIfUnused(entry));
		},
	};
}

function find(echo: PusherEcho, kind: ChannelKind, shortName: string): Entry {
	const { prefix, open } = KINDS[kind];
	const name = prefix + shortName;
	let ofEcho = entries.get(echo);
	if (!ofEcho) entries.set(echo, ofEcho = new Map());

	const known = ofEcho.get(name);
	// The application may have called Echo.leave(): then subscribe again.
	if (known && inEcho(echo, name) === known.channel) {
		const { subscription } = known.channel;
		// The subscription was rejected. Try again: the user may have been authorized since.
		if (!subscription.subscribed && !subscription.subscriptionPending) known.channel.subscribe();
		return known;
	}
	const borrowed = inEcho(echo, name) !== undefined;
	const channel = open(echo, shortName) as PublicChannel;
	const entry = { echo, name, channel, holders: 0, borrowed };
	ofEcho.set(name, entry);
	return entry;
}

function leaveIfUnused(entry: Entry): void {
	const { echo, name, channel, holders } = entry;
	if (holders > 0) return;
	if (!entry.borrowed && inEcho(echo, name) === channel) {
		if (channel.subscription?.subscriptionPending) return whenSettled(entry, () => leaveIfUnused(entry));
		echo.leaveChannel(name);
	}
	const ofEcho = entries.get(echo);
	if (ofEcho?.get(name) === entry) ofEcho.delete(name);
}

/**
 * Waits until a pending subscription has been accepted or rejected. pusher-js only marks a pending subscription
 * as cancelled. If the server rejects it or the connection breaks, the mark is lost, and pusher-js would
 * resubscribe on the next connection although no component uses the channel.
 */
function whenSettled({ echo, channel }: Entry, then: () => void): void {
	const { subscription } = channel;
	const { connection } = echo.connector.pusher;
	const settled = (): void => {
		for (const unbind of waiting) unbind();
		then();
	};
	const waiting: Unbind[] = [
		bind(subscription, 'pusher:subscription_succeeded', settled),
		bind(subscription, 'pusher:subscription_error', settled),
		bind(connection, 'connecting', settled),
		bind(connection, 'disconnected', settled),
	];
}
