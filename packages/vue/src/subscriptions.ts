// Who holds which channel. A channel is joined for the first who asks and left after the last.

import type { EncryptedChannel, PresenceChannel, PrivateChannel, PublicChannel, PusherEcho } from './echo.js';
import { bind, type Unbind } from './listeners.js';

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
	/** As on the wire. */
	name: string;
	channel: PublicChannel;
	holders: number;
	/** Whether it was there before us: then whoever joined it leaves it. */
	borrowed: boolean;
}

/** A channel held until `release`. */
export interface Lease<C> {
	channel: C;
	release: () => void;
}

const entries = new WeakMap<PusherEcho, Map<string, Entry>>();

const inEcho = (echo: PusherEcho, name: string): unknown => echo.connector.channels[name];

/** Joins, or joins in. */
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
			// Not at once: when one page takes the other's place, the next holder comes in this very moment.
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
	// Somebody may have left it behind our back, with Echo.leave(): then it is joined anew.
	if (known && inEcho(echo, name) === known.channel) {
		const { subscription } = known.channel;
		// It was refused once. Who asks again may have become somebody who is allowed.
		if (!subscription.subscribed && !subscription.subscriptionPending) known.channel.subscribe();
		return known;
	}
	const borrowed = inEcho(echo, name) !== undefined;
	const entry = { echo, name, channel: open(echo, shortName) as PublicChannel, holders: 0, borrowed };
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
 * pusher-js only marks a subscription as cancelled that is still on its way; if the server refuses it, or the
 * connection breaks, the mark is lost and the channel is subscribed to again with the next connection, for
 * nobody.
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
