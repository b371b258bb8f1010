import type Pusher from 'pusher-js';
import { pusherOf, type Client } from './client.js';
import type { Gap, GapReason, Position } from './position.js';
import { load, saveOnLeave, type Since } from './storage.js';

export interface RecoveryOptions {
	/**
	 * Whether to keep positions in `sessionStorage`, so that a reload of the page resumes too. A string is the
	 * storage's key. Default: `false`.
	 */
	storage?: boolean | string;
	/** Called when missed events are not replayed. */
	onGap?: (gap: Gap) => void;
}

/** The positions of a client. */
export interface Recovery {
	/** Returns the position of a channel, named with its prefix. `undefined` without history. */
	position(channel: string): Position | undefined;
	/**
	 * Sets the position from which a channel receives events. Call it before the page subscribes, with a position
	 * that the backend read before the page's data.
	 */
	since(channel: string, position: Position): void;
	/** Listens to gaps of all channels. Returns a function that removes the listener. */
	onGap(listener: (gap: Gap) => void): () => void;
}

/** Where a subscription starts. Without history there is no epoch. */
interface Start extends Partial<Position> {
	/** Whether nothing is missing since the position that the client named. */
	recovered?: boolean;
	/** Number of past events that follow first. */
	missed?: number;
}

/** The state of a channel's subscription, also while it is interrupted. */
interface Subscription {
	/** The last offset. Events up to it are duplicates. */
	seen: number;
	/** Number of replayed events that are still to come. */
	replayed: number;
	/**
	 * Where the subscription starts, if the position was not recovered and the server's gap is still to come. Until
	 * then the old position is named, so that the gap is not lost with the connection.
	 */
	afterGap?: Position;
}

/** The parts of pusher-js's connections that its types don't show. */
interface Transport {
	emit(event: string, message?: { data: string }): unknown;
}

interface Connections {
	connection: { transport: Transport } | null;
	setConnection(connection: { transport: Transport }): void;
}

const SUCCEEDED = 'pusher_internal:subscription_succeeded';
const GAP = 'clarim:gap';

/** Parses JSON, unless it is parsed already. */
function parse(json: unknown): any {
	if (typeof json !== 'string') return json;
	try {
		return JSON.parse(json);
	} catch {
		// pusher-js reports it.
		return undefined;
	}
}

interface Installed extends Recovery {
	/** Keeps the positions in this tab. */
	store(key: string): void;
}

const recoveries = new WeakMap<Pusher, Installed>();

/**
 * Recovers missed events: after a reconnection each channel is resubscribed from its last position, events that
 * were already received are dropped, and `onGap` reports what the server can't replay. Returns the existing
 * recovery if the client has one.
 */
export function recover(client: Client, { storage, onGap }: RecoveryOptions = {}): Recovery {
	const pusher = pusherOf(client);
	let recovery = recoveries.get(pusher);
	if (!recovery) recoveries.set(pusher, recovery = install(pusher));
	if (storage) recovery.store(typeof storage === 'string' ? storage : `clarim:${pusher.key}`);
	if (onGap) recovery.onGap(onGap);
	return recovery;
}

function install(pusher: Pusher): Installed {
	const positions = new Map<string, Since>();
	const subscriptions = new Map<string, Subscription>();
	const listeners = new Set<(gap: Gap) => void>();

	const report = (channel: string, reason: GapReason): void => {
		for (const listener of [...listeners]) if (listeners.has(listener)) listener({ channel, reason });
	};

	/** Everything after this position follows. */
	const reach = (channel: string, { epoch, offset = 0 }: Position): void => {
		positions.set(channel, { epoch, offset, socket_id: pusher.connection.socket_id });
		subscriptions.set(channel, { seen: offset, replayed: 0 });
	};

	/** Handles the start of a subscription. Returns whether events may be missing although the server says nothing. */
	const start = (channel: string, { epoch, offset = 0, recovered, missed = 0 }: Start): boolean => {
		const before = positions.get(channel);
		const isInterrupted = before !== undefined || subscriptions.has(channel);
		const subscription: Subscription = { seen: offset, replayed: 0 };
		subscriptions.set(channel, subscription);
		// To the end, as the most recent.
		positions.delete(channel);
		if (!epoch) return isInterrupted;
		if (!before) {
			reach(channel, { epoch, offset });
			// The history began during the interruption, so that there was no position to name.
			return isInterrupted && !recovered;
		}
		positions.set(channel, before);
		if (recovered && before.epoch === epoch) {
			// The server may start before the position. It then replays events that were received.
			subscription.seen = before.offset = Math.max(before.offset, offset);
			subscription.replayed = missed;
			if (!missed || !before.socket_id) before.socket_id = pusher.connection.socket_id;
		} else {
			subscription.afterGap = { epoch, offset };
		}
		return false;
	};

	/** Moves the position to an event. Returns whether the event is new. */
	const take = (channel: string, offset: number): boolean => {
		const afterGap = subscriptions.get(channel)?.afterGap;
		if (afterGap) {
			// The server did not announce the gap.
			reach(channel, afterGap);
			report(channel, 'unknown');
		}
		const position = positions.get(channel);
		const subscription = subscriptions.get(channel);
		if (!position || !subscription) return true;
		// The replay leaves out events that excluded the former connection, also if it takes several connections.
		if (subscription.replayed && !--subscription.replayed) position.socket_id = pusher.connection.socket_id;
		if (offset <= subscription.seen) return false;
		subscription.seen = position.offset = offset;
		return true;
	};

	/** Passes a message on to pusher-js, unless it is a duplicate. */
	const receive = (message: string, deliver: () => void): void => {
		// Other messages are not parsed twice.
		const frame = /"offset":|:subscription_succeeded"|"clarim:gap"/.test(message) && parse(message);
		if (!frame) return deliver();
		const { event, channel, data, offset } = frame;
		if (event === SUCCEEDED) {
			const isMissing = start(channel, parse(data) ?? {});
			deliver();
			// Unless it was left in the meantime.
			if (isMissing && subscriptions.has(channel)) report(channel, 'no_history');
		} else if (event === GAP) {
			const gap = parse(data) ?? {};
			const subscription = subscriptions.get(channel);
			const position = gap.epoch ? gap : subscription?.afterGap;
			if (position) reach(channel, position);
			// The history may be another one, so that nothing is a duplicate.
			else if (subscription) subscription.seen = 0;
			// pusher-js would try to decrypt it.
			if (channel.startsWith('private-encrypted-')) pusher.channel(channel)?.emit(GAP, gap);
			else deliver();
			report(channel, gap.reason ?? 'bus');
		} else {
			if (typeof offset === 'number' && !take(channel, offset)) return;
			deliver();
		}
	};

	const watch = (transport: Transport): void => {
		const { emit } = transport;
		transport.emit = function (name, message) {
			const deliver = (): unknown => emit.call(this, name, message);
			if (name === 'message') receive(message!.data, deliver);
			else deliver();
			return this;
		};
	};

	const connections = pusher.connection as unknown as Connections;
	const { setConnection } = connections;
	connections.setConnection = function (connection) {
		watch(connection.transport);
		setConnection.call(this, connection);
	};
	if (connections.connection) watch(connections.connection.transport);
	// Without positions: their first interruption is a gap.
	for (const { name, subscribed } of pusher.allChannels()) {
		if (subscribed) subscriptions.set(name, { seen: 0, replayed: 0 });
	}

	const { send_event: send, unsubscribe } = pusher;
	pusher.send_event = function (event, data, channel) {
		const since = event === 'pusher:subscribe' && positions.get(data.channel);
		return send.call(this, event, since ? { ...data, since } : data, channel);
	};
	pusher.unsubscribe = function (name) {
		unsubscribe.call(this, name);
		// A pending subscription is only marked as cancelled, and ends later.
		if (pusher.channel(name)) return;
		positions.delete(name);
		subscriptions.delete(name);
	};

	return {
		store(key) {
			for (const [channel, since] of load(key)) if (!positions.has(channel)) positions.set(channel, since);
			saveOnLeave(key, () => [...positions]);
		},
		position(channel) {
			const { epoch, offset } = positions.get(channel) ?? {};
			return epoch ? { epoch, offset: offset! } : undefined;
		},
		since(channel, { epoch, offset }) {
			positions.set(channel, { epoch, offset });
		},
		onGap(listener) {
			// Its own function, so that a listener can be added twice.
			const own = (gap: Gap): void => listener(gap);
			listeners.add(own);
			return () => void listeners.delete(own);
		},
	};
}
