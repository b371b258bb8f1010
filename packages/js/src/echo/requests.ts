import type { PusherEcho } from './echo.js';
import type { Unbind } from './listeners.js';

interface OutgoingRequest {
	url: string;
	headers?: Record<string, any>;
}

/** Inertia's `http`, or another client with its hook. */
export interface RequestHooks {
	onRequest(handler: <R extends OutgoingRequest>(request: R) => R): () => void;
}

/**
 * Sends the id of the connection with each request, so that the backend can exclude this page (`toOthers()`).
 * Requests to other origins are left alone: they would have to accept the header.
 */
export function sendSocketId(http: RequestHooks, { connector }: PusherEcho): Unbind {
	return http.onRequest((request) => {
		// Echo's null broadcaster has no client.
		const id = connector.pusher?.connection.socket_id;
		if (!id || !isOwn(request.url)) return request;
		return { ...request, headers: { ...request.headers, 'X-Socket-ID': id } };
	});
}

function isOwn(url: string): boolean {
	try {
		return new URL(url, location.href).origin === location.origin;
	} catch {
		// The client reports it.
		return false;
	}
}
