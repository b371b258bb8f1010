// A server that speaks the Pusher protocol with history, in this process, so that a test sees and decides each
// message. `e2e/history` has the same clients on the real server.

import type { AddressInfo } from 'node:net';
import { WebSocketServer, type WebSocket } from 'ws';

interface Entry {
	offset: number;
	frame: string;
	except: string | undefined;
}

interface History {
	epoch: string;
	offset: number;
	entries: Entry[];
}

interface Since {
	epoch: string;
	offset: number;
	socket_id?: string;
}

interface Message {
	event: string;
	channel?: string;
	data: { channel: string; since?: Since; channel_data?: string; user_data?: string };
}

export async function startServer() {
	const sockets = new Map<WebSocket, { id: string; channels: Set<string> }>();
	const histories = new Map<string, History>();
	const state = {
		/** Number of events that are kept per channel. */
		kept: 100,
		/** Maximum number of events that are replayed. */
		replayed: 50,
		/** Number of received events that are replayed all the same, as to an unmodified client. */
		overlap: 0,
		/** Channels without history. */
		plain: /^plain/,
		/** Whether subscriptions wait. */
		isHeld: false,
		/** Number of messages of a new subscription after which its connection breaks, once. */
		broken: Infinity,
	};
	const held: (() => void)[] = [];
	const urls: string[] = [];
	const left: string[] = [];
	const subscriptions: Message['data'][] = [];
	let count = 0;

	const historyOf = (channel: string): History | undefined => {
		if (state.plain.test(channel)) return undefined;
		let history = histories.get(channel);
		if (!history) histories.set(channel, history = { epoch: `e${++count}`, offset: 0, entries: [] });
		return history;
	};

	const positionOf = (channel: string): { epoch: string; offset: number } => {
		const { epoch, offset } = historyOf(channel)!;
		return { epoch, offset };
	};

	const message = (event: string, channel: string, data: unknown): string =>
		JSON.stringify({ event, channel, data: JSON.stringify(data) });

	/** Finds the events since the position, or the reason why there is a gap. */
	function missedSince({ epoch, entries, offset: current }: History, since: Since): Entry[] | string {
		if (since.epoch !== epoch) return 'epoch';
		if (since.offset > current) return 'unknown';
		const from = since.offset - state.overlap;
		const missed = entries.filter(({ offset }) => offset > from);
		if ((entries[0]?.offset ?? current + 1) > since.offset + 1) return 'expired';
		return missed.length > state.replayed ? 'too_many' : missed;
	}

	/** Closes a connection. pusher-js reconnects at once. */
	function cut(socket: WebSocket): void {
		socket.close(4200);
		sockets.delete(socket);
	}

	function subscribe(socket: WebSocket, { channel, since, channel_data: member }: Message['data']): void {
		const { id, channels } = sockets.get(socket)!;
		channels.add(channel);
		const history = historyOf(channel);
		const found = history && since ? missedSince(history, since) : [];
		const missed = typeof found === 'string'
			? [] : found.filter(({ except }) => except === undefined || ![id, since?.socket_id].includes(except));
		const user = JSON.parse(member ?? 'null') as { user_id: string; user_info: unknown } | null;
		const first = [message('pusher_internal:subscription_succeeded', channel, {
			...(user && { presence: { ids: [user.user_id], hash: { [user.user_id]: user.user_info }, count: 1 } }),
			...(history && {
				epoch: history.epoch,
				offset: Array.isArray(found) && since ? since.offset - state.overlap : history.offset,
				recovered: Boolean(since) && Array.isArray(found),
				missed: missed.length,
			}),
		}), ...missed.map(({ frame }) => frame)];
		if (typeof found === 'string') first.push(message('clarim:gap', channel, { reason: found, ...positionOf(channel) }));
		if (channel.startsWith('cache-') && !(since && Array.isArray(found))) {
			// Without its offset.
			const cached = history?.entries.at(-1)?.frame.replace(/,"offset":\d+\}$/, '}');
			first.push(cached ?? JSON.stringify({ event: 'pusher:cache_miss', channel }));
		}
		for (const frame of first.slice(0, state.broken)) socket.send(frame);
		if (first.length > state.broken) {
			state.broken = Infinity;
			cut(socket);
		}
	}

	function receive(socket: WebSocket, { event, data }: Message): void {
		if (event === 'pusher:subscribe') {
			subscriptions.push(data);
			const work = (): void => {
				if (sockets.has(socket)) subscribe(socket, data);
			};
			if (state.isHeld) held.push(work);
			else work();
		} else if (event === 'pusher:unsubscribe') {
			sockets.get(socket)!.channels.delete(data.channel);
			left.push(data.channel);
		} else if (event === 'pusher:signin') {
			socket.send(JSON.stringify({ event: 'pusher:signin_success', data: { user_data: data.user_data } }));
		} else if (event === 'pusher:ping') {
			socket.send(JSON.stringify({ event: 'pusher:pong', data: {} }));
		}
	}

	const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
	server.on('connection', (socket, { url }) => {
		const id = `${++count}.1`;
		urls.push(url!);
		sockets.set(socket, { id, channels: new Set() });
		socket.on('close', () => sockets.delete(socket));
		socket.on('message', (text) => receive(socket, JSON.parse(String(text)) as Message));
		const hello = JSON.stringify({ socket_id: id, activity_timeout: 120 });
		socket.send(JSON.stringify({ event: 'pusher:connection_established', data: hello }));
	});
	await new Promise((resolve) => { server.once('listening', resolve); });

	/** Sends a message to all subscribers of a channel. */
	function send(channel: string, frame: string, except?: string): void {
		for (const [socket, { id, channels }] of sockets) {
			if (channels.has(channel) && id !== except) socket.send(frame);
		}
	}

	return {
		state,
		port: (server.address() as AddressInfo).port,
		/** The paths of all connections. */
		urls,
		/** The data of all `pusher:subscribe` messages. */
		subscriptions,
		/** The channels of all `pusher:unsubscribe` messages. */
		left,
		publish(channel: string, event: string, data: unknown, { except }: { except?: string } = {}): number {
			const history = historyOf(channel);
			if (!history) {
				send(channel, message(event, channel, data), except);
				return 0;
			}
			const offset = ++history.offset;
			const frame = `${message(event, channel, data).slice(0, -1)},"offset":${offset}}`;
			history.entries = [...history.entries, { offset, frame, except }].slice(-state.kept);
			send(channel, frame, except);
			return offset;
		},
		position: positionOf,
		/** Sends the last event of a channel again. */
		repeat: (channel: string) => send(channel, historyOf(channel)!.entries.at(-1)!.frame),
		gap: (channel: string, data: { reason: string }) => send(channel, message('clarim:gap', channel, data)),
		/** All histories begin anew. */
		forget: () => histories.clear(),
		/** Lets the held subscriptions go on. */
		release(): void {
			state.isHeld = false;
			for (const work of held.splice(0)) work();
		},
		/** Closes all connections. pusher-js reconnects at once. */
		cut(): void {
			for (const socket of [...sockets.keys()]) cut(socket);
		},
		close(): Promise<void> {
			for (const socket of server.clients) socket.terminate();
			return new Promise((resolve) => { server.close(() => resolve()); });
		},
	};
}

export type Server = Awaited<ReturnType<typeof startServer>>;
