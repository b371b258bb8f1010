// Who is logged in, and how the backend is asked.

import { createEcho, type PusherEcho } from '@clarim/vue';
import { shallowRef } from 'vue';
import type { SessionInfo, User } from './events';

/** Why the backend did not do what it was asked. */
export class ApiError extends Error {
	constructor(
		/** 0: it was not reached. */
		readonly status: number,
		/** A word for the reason; `errors.*` in words.ts has the sentence. */
		readonly code: string,
		readonly field: string | null = null,
	) {
		super(`${status} ${code}`);
	}
}

const session = shallowRef<SessionInfo | null>(null);
let echo: PusherEcho | undefined;

/** Asks who is logged in. */
export async function loadSession(): Promise<SessionInfo> {
	session.value ??= await api<SessionInfo>('GET', '/api/session');
	return session.value;
}

/** The user; of pages that only users see. */
export function me(): User {
	const user = session.value?.user;
	if (!user) throw new Error('nobody is logged in');
	return user;
}

export const people = (): User[] => session.value?.people ?? [];

/** The connection to the Clarim server: asked for when the first page behind the login needs it. */
export function connect(): PusherEcho {
	if (!session.value) throw new Error('the session is not loaded');
	const { csrf, key, server } = session.value;
	echo ??= createEcho({
		key,
		host: server?.host ?? location.hostname,
		port: server?.port ?? Number(location.port || (location.protocol === 'https:' ? 443 : 80)),
		scheme: server?.scheme ?? (location.protocol === 'https:' ? 'https' : 'http'),
		csrfToken: csrf,
		// What the server says of a lost connection comes sooner than 150 s.
		activityTimeout: 20_000,
		pongTimeout: 6_000,
	});
	return echo;
}

/** Sends JSON, gets JSON. */
export async function api<T = void>(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown): Promise<T> {
	const headers: Record<string, string> = { Accept: 'application/json' };
	if (body !== undefined) headers['Content-Type'] = 'application/json';
	if (session.value) headers['X-CSRF-TOKEN'] = session.value.csrf;
	// By it the backend leaves this page out of what it broadcasts: `to_others`.
	const socket = echo?.socketId();
	if (socket) headers['X-Socket-ID'] = socket;
	let response: Response;
	try {
		response = await fetch(path, {
			method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal: AbortSignal.timeout(15_000),
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
	// The session has ended meanwhile.
	if (session.value?.user && (response.status === 401 || response.status === 419)) location.assign('/login?expired');
	throw new ApiError(response.status, code, field);
}

export async function logIn(login: string, password: string): Promise<void> {
	await api('POST', '/api/login', { login, password });
}

export async function logOut(): Promise<void> {
	await api('POST', '/api/logout');
	// Nothing of one user is left for the next.
	sessionStorage.clear();
	location.assign('/login');
}
