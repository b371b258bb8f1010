// Unmodified pusher-js clients with the plug-in, on a server in this process.

import Pusher, { type Options } from 'pusher-js';
import nacl from 'tweetnacl';
import { recover, type Gap, type RecoveryOptions } from '../src/index.js';
import { startServer } from './server.js';

const SECRET = nacl.randomBytes(32);

/** What the server sends on an encrypted channel. */
export function encrypt(data: unknown): { nonce: string; ciphertext: string } {
	const nonce = nacl.randomBytes(24);
	const text = new TextEncoder().encode(JSON.stringify(data));
	const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
	return { nonce: base64(nonce), ciphertext: base64(nacl.secretbox(text, nonce, SECRET)) };
}

export async function startWorld() {
	const server = await startServer();
	const clients = new Set<Pusher>();

	const options: Options = {
		cluster: '',
		wsHost: '127.0.0.1',
		wsPort: server.port,
		forceTLS: false,
		enabledTransports: ['ws'],
		nacl,
		channelAuthorization: {
			endpoint: '',
			transport: 'ajax',
			customHandler: ({ channelName }, callback) => callback(null, {
				auth: 'key:signature',
				...(channelName.startsWith('presence-') && { channel_data: '{"user_id":"7","user_info":{"name":"Ana"}}' }),
				...(channelName.includes('encrypted') && { shared_secret: Buffer.from(SECRET).toString('base64') }),
			}),
		},
		userAuthentication: {
			endpoint: '',
			transport: 'ajax',
			customHandler: (_, callback) => callback(null, { auth: 'key:signature', user_data: '{"id":"7"}' }),
		},
	};

	const pusher = (more: Partial<Options> = {}): Pusher => {
		const client = new Pusher('key', { ...options, ...more });
		clients.add(client);
		return client;
	};

	return {
		server,
		options,
		/** A client without the plug-in. */
		pusher,
		/** A client with the plug-in, and what it received. */
		client(more: RecoveryOptions = {}) {
			const client = pusher();
			const gaps: Gap[] = [];
			const recovery = recover(client, { ...more, onGap: (gap) => gaps.push(gap) });
			return {
				pusher: client,
				recovery,
				gaps,
				/** Subscribes and collects the numbers of the channel's events. */
				subscribe(name: string) {
					const channel = client.subscribe(name);
					const heard: number[] = [];
					channel.bind('numbered', ({ n }: { n: number }) => heard.push(n));
					return { channel, heard };
				},
			};
		},
		publish(channel: string, n: number, more: { except?: string } = {}): void {
			server.publish(channel, 'numbered', channel.includes('encrypted') ? encrypt({ n }) : { n }, more);
		},
		async close(): Promise<void> {
			for (const client of clients) client.disconnect();
			await server.close();
		},
	};
}

export type World = Awaited<ReturnType<typeof startWorld>>;

/** Waits for a condition. */
export async function until(ask: () => unknown): Promise<void> {
	const end = Date.now() + 20_000;
	while (!ask()) {
		if (Date.now() > end) throw new Error(`not within 20 s: ${ask}`);
		await new Promise((resolve) => { setTimeout(resolve, 5); });
	}
}
