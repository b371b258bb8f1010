// The logged-in user, and requests to the backend.

import { createEcho, type PusherEcho } from '@clarim/vue';
import { shallowRef } from 'vue';
import type { SessionInfo, User } from './events';
import { session as tab } from './storage';

/** An error response of the backend. */
export class ApiError extends Error {
	constructor(
		/** 0: the backend was unreachable. */
		readonly status: number,
		/** Error code; `errors.*` in words.ts has the text. */
		readonly code: string,
		readonly field: string | null = null,
	) {
		super(`${status} ${code}`);
	}
}

const session = shallowRef<SessionInfo | null>(null);
let echo: PusherEcho | undefined;

/** Loads the logged-in user. */
export async function loadSession(): Promise<SessionInfo> {
	session.value ??= await api<SessionInfo>('GET', '/api/session');
	return session.value;
}

/** Returns the user, on pages that require a login. */
export function me(): User {
	const user = session.value?.user;
	if (!user) throw new Error('not logged in');
	return user;
}

export const people = (): User[] => session.value?.people ?? [];

/** Returns the connection to the Clarim server, which is opened by the first page behind the login. */
export function connect(): PusherEcho {
	if (!session.value) throw new Error('the session is not loaded');
	const { csrf, key, server } = session.value;
	echo ??= createEcho({
		key,
		host: server?.host ?? location.hostname,
		port: server?.port ?? Number(location.port || (location.protocol === 'https:' ? 443 : 80)),
		scheme: server?.scheme ?? (location.protocol === 'https:' ? 'https' : 'http'),
		csrfToken: csrf,
		// Detects a lost connection sooner than after the default 150 s.
		activityTimeout: 20_000,
		pongTimeout: 6_000,
	});
	return echo;
}

/** Sends and receives JSON. `keepalive`: the request outlives the page. */
export async function api<T = void>(
	method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown, keepalive = false,
): Promise<T> {
	const headers: Record<string, string> = { Accept: 'application/json' };
	if (body !== undefined) headers['Content-Type'] = 'application/json';
	if (session.value) headers['X-CSRF-TOKEN'] = session.value.csrf;
	// Lets the backend exclude this page from broadcasts (`to_others`).
	const socket = echo?.socketId();
	if (socket) headers['X-Socket-ID'] = socket;
	let response: Response;
	try {
		response = await fetch(path, {
			method, headers, keepalive, body: body === undefined ? undefined : JSON.stringify(body), signal: AbortSignal.timeout(15_000),
		});
	} catch {
		throw new ApiError(0, 'offline');
	}
	if (response.ok) {
		const text = await response.text().catch(() => {
			throw new ApiError(0, 'offline');
		});
		return (text ? JSON.parse(text) : undefined) as T;
	}
	const { code = 'broken', field = null } = await response.json().catch(() => ({}));
	// The session has expired.
	if (session.value?.user && (response.status === 401 || response.status === 419)) {
		const page = encodeURIComponent(location.pathname + location.search + location.hash);
		// The first of several responses counts: the others may come when this is no longer the page.
		if (location.pathname !== '/login') location.assign(`/login?expired&next=${page}`);
	}
	throw new ApiError(response.status, code, field);
}

export async function logIn(login: string, password: string): Promise<void> {
	await api('POST', '/api/login', { login, password });
}

export async function logOut(): Promise<void> {
	await api('POST', '/api/logout');
	// Discards all state of the previous user.
	tab.clear();
	location.assign('/login');
}
