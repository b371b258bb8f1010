// Authorizes many channels in one request: a page with many channels asks for all of them at the same moment.

import type { ChannelAuthorizationHandler } from 'pusher-js';
import { AuthorizationError, statusOf } from './retry.js';

export interface BatchOptions {
	/** URL of the backend's batch route, such as `/broadcasting/auth/batch`. */
	endpoint: string;
	/** Headers of each request, such as a token. A function is called for each request. */
	headers?: Record<string, string> | (() => Record<string, string> | Promise<Record<string, string>>);
}

/** Maximum number of channels in a request, as the crate `clarim` accepts them. */
const LIMIT = 100;

type Answer = Parameters<ChannelAuthorizationHandler>[1];

/** The backend's answer for one channel. */
interface Result {
	status: number;
	data?: NonNullable<Parameters<Answer>[1]>;
}

async function request({ endpoint, headers }: BatchOptions, socketId: string, names: string[]): Promise<Record<string, Result>> {
	const own = typeof headers === 'function' ? await headers() : headers;
	const response = await fetch(endpoint, {
		method: 'POST',
		headers: { Accept: 'application/json', 'Content-Type': 'application/json', ...own },
		body: JSON.stringify({ socket_id: socketId, channel_names: names }),
	}).catch((error: unknown) => {
		throw new AuthorizationError(0, `${endpoint} is unreachable: ${error}`);
	});
	if (!response.ok) throw new AuthorizationError(response.status, `${endpoint} answered ${response.status}`);
	return await response.json() as Record<string, Result>;
}

/** Returns an authorizer that collects the channels of one moment. */
export function batching(options: BatchOptions): ChannelAuthorizationHandler {
	let waiting: { socketId: string; channelName: string; answer: Answer }[] = [];

	const send = async (all: typeof waiting): Promise<void> => {
		let results: Record<string, Result>;
		try {
			results = await request(options, all[0]!.socketId, all.map(({ channelName }) => channelName));
		} catch (error) {
			const { message } = error as Error;
			// An answer that is not JSON has no status.
			for (const { answer } of all) answer(new AuthorizationError(statusOf(error as Error) ?? 200, message), null);
			return;
		}
		for (const { channelName, answer } of all) {
			const { status, data } = results?.[channelName] ?? { status: 404 };
			if (status === 200 && data) answer(null, data);
			else answer(new AuthorizationError(status, `${options.endpoint} answered ${status} for ${channelName}`), null);
		}
	};

	const flush = (): void => {
		const all = waiting;
		waiting = [];
		// A request is for one connection.
		for (const socketId of new Set(all.map((one) => one.socketId))) {
			const mine = all.filter((one) => one.socketId === socketId);
			while (mine.length) void send(mine.splice(0, LIMIT));
		}
	};

	return ({ socketId, channelName }, answer) => {
		if (waiting.push({ socketId, channelName, answer }) === 1) setTimeout(flush);
	};
}
