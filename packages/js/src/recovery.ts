import type Pusher from 'pusher-js';
import type { Gap, GapReason, Position } from './position.js';
import { load, saveOnLeave, type Since } from './storage.js';

/** An Echo instance on pusher-js. */
export interface EchoClient {
	connector: { pusher: Pusher };
}

export type Client = Pusher | EchoClient;

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
	const pusher = 'connector' in client ? client.connector.pusher : client;
	let recovery = recoveries.get(pusher);
	if (!recovery) recoveries.set(pusher, recovery = install(pusher));
	if (storage) recovery.store(typeof storage === 'string' ? storage : `clarim:${pusher.key}`);
	if (onGap) recovery.onGap(onGap);
	return recovery;
}

function install(pusher: Pusher): Installed {
	const positions = new Map<string, Since>();
	/** The channels that were subscribed before. */
	const joined = new Set<string>();
	const listeners = new Set<(gap: Gap) => void>();
	/** The last offset of each channel in its current subscription. Events up to it are duplicates. */
	const seen = new Map<string, number>();

	const report = (channel: string, reason: GapReason): void => {
		for (const listener of [...listeners]) if (listeners.has(listener)) listener({ channel, reason });
	};

	/** Everything after this position follows. */
	const reach = (channel: string, epoch: string, offset: number): void => {
		positions.set(channel, { epoch, offset, socket_id: pusher.connection.socket_id });
		seen.set(channel, offset);
	};

	/** Handles the start of a subscription. Returns whether events may be missing although the server says nothing. */
	const start = (channel: string, { epoch, offset = 0, recovered }: Start): boolean => {
		const before = positions.get(channel);
		const wasJoined = joined.has(channel) || before !== undefined;
		joined.add(channel);
		// To the end, as the most recent.
		positions.delete(channel);
		if (!epoch) return wasJoined;
		// The server may start before the position. It then replays events that were received.
		const last = recovered && before?.epoch === epoch ? Math.max(before.offset, offset) : offset;
		reach(channel, epoch, last);
		return false;
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
			if (isMissing && joined.has(channel)) report(channel, 'no_history');
		} else if (event === GAP) {
			const gap = parse(data) ?? {};
			if (gap.epoch) reach(channel, gap.epoch, gap.offset ?? 0);
			// The history may be another one, so that nothing is a duplicate.
			else seen.delete(channel);
			// pusher-js would try to decrypt it.
			if (channel.startsWith('private-encrypted-')) pusher.channel(channel)?.emit(GAP, gap);
			else deliver();
			report(channel, gap.reason ?? 'bus');
		} else {
			const position = positions.get(channel);
			if (position && typeof offset === 'number') {
				if (offset <= (seen.get(channel) ?? 0)) return;
				seen.set(channel, position.offset = offset);
			}
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
		joined.delete(name);
		seen.delete(name);
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
