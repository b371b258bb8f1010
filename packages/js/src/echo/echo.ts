import Echo, { type Broadcaster, type EchoOptions } from 'laravel-echo';
import Pusher from 'pusher-js';
import { authorize, type AuthorizationOptions } from '../authorization.js';
import { recover } from '../recovery.js';
import type { Unbind } from './listeners.js';
import { sendSocketId, type RequestHooks } from './requests.js';
import { followWatchlist } from './watchlist.js';

/** Laravel Echo on pusher-js. */
export type PusherEcho = Echo<'reverb'>;

/** Any accepted Echo instance. The types differ only in their options. */
export type AnyEcho = PusherEcho | Echo<'pusher'> | Echo<'ably'> | Echo<'null'>;

export type PublicChannel = Broadcaster['reverb']['public'];
export type PrivateChannel = Broadcaster['reverb']['private'];
export type EncryptedChannel = Broadcaster['reverb']['encrypted'];
export type PresenceChannel = Broadcaster['reverb']['presence'];

/** Connection states, as named by pusher-js. */
export type ConnectionState =
	| 'initialized' | 'connecting' | 'connected' | 'unavailable' | 'failed' | 'disconnected';

/** Address of the server. Missing values come from `VITE_REVERB_APP_KEY`, `_HOST`, `_PORT` and `_SCHEME`. */
export interface ServerAddress {
	key?: string;
	host?: string;
	port?: number | string;
	scheme?: 'http' | 'https';
}

interface Reliability {
	/** Renewal of tokens, and authorization of many channels in one request: the options of `authorize`. */
	authorization?: AuthorizationOptions;
}

interface Requests {
	/** Inertia's `http`, whose requests then send the header `X-Socket-ID`. */
	http?: RequestHooks;
}

/** An Echo instance, or the options to create one (all options of Echo and pusher-js). */
export type EchoSourceOptions = Reliability & Requests & (
	| {
		/** An instance, or a function that creates one on first use. Never called on the server. */
		echo: AnyEcho | (() => AnyEcho);
	}
	| (ServerAddress & Partial<EchoOptions<'reverb'>>)
);

/** Whether this runs in a browser. On the server nothing connects. */
export const isBrowser = (): boolean => typeof window !== 'undefined';

function environment(): Record<string, string | undefined> {
	// Set by Vite, in development and in the build. Undefined elsewhere.
	return import.meta.env ?? {};
}

/** Creates an Echo instance for a Reverb-compatible server from options and `VITE_REVERB_*`. */
export function createEcho(options: Reliability & ServerAddress & Partial<EchoOptions<'reverb'>> = {}): PusherEcho {
	const env = environment();
	const { key = env.VITE_REVERB_APP_KEY, host, port, scheme, authorization, ...more } = options;
	if (!key) throw new Error('No app key: set VITE_REVERB_APP_KEY, or pass the option "key".');
	const at = Number(port ?? env.VITE_REVERB_PORT) || undefined;
	return prepared(new Echo({
		Pusher,
		wsHost: host ?? env.VITE_REVERB_HOST ?? window.location.hostname,
		wsPort: at ?? 80,
		wssPort: at ?? 443,
		forceTLS: (scheme ?? env.VITE_REVERB_SCHEME ?? 'https') === 'https',
		enabledTransports: ['ws', 'wss'],
		...more,
		broadcaster: 'reverb',
		key,
	} as EchoOptions<'reverb'>), authorization);
}

/** Adds recovery of missed events, reliable authorization, and the state of the watchlist. */
function prepared(echo: PusherEcho, authorization: AuthorizationOptions = {}): PusherEcho {
	// Echo's null broadcaster has no client.
	if (!echo.connector.pusher) return echo;
	recover(echo);
	authorize(echo, authorization);
	followWatchlist(echo.connector.pusher);
	return echo;
}

/** An Echo instance that is created on first use. */
export class EchoSource {
	readonly #make: () => PusherEcho;
	/** Whether the application passed the instance in. It then connects and disconnects it. */
	readonly #isGiven: boolean;
	readonly #http: RequestHooks | undefined;
	#made: PusherEcho | undefined;
	#endRequests: Unbind | undefined;
	#isClosed = false;

	constructor({ http, ...options }: EchoSourceOptions) {
		this.#http = http;
		const given = 'echo' in options ? options.echo : undefined;
		this.#isGiven = given !== undefined;
		this.#make = () => {
			const echo = typeof given === 'function' ? given() : given;
			return echo ? prepared(echo as PusherEcho, options.authorization) : createEcho(options as ServerAddress);
		};
	}

	/** Returns the instance. Call it in the browser only. */
	readonly get = (): PusherEcho => {
		this.#made ??= this.#make();
		this.#endRequests ??= this.#http && sendSocketId(this.#http, this.#made);
		return this.#made;
	};

	/** Returns the instance if it has been created. */
	readonly peek = (): PusherEcho | null => this.#made ?? null;

	/** Disconnects the instance, unless the application passed it in. */
	close(): void {
		this.#endRequests?.();
		this.#endRequests = undefined;
		if (this.#isGiven) return;
		this.#isClosed = true;
		this.#made?.disconnect();
	}

	/** Connects the instance again after `close`. */
	reopen(): void {
		if (this.#made) this.get();
		if (this.#isClosed) this.#made?.connector.pusher?.connect();
		this.#isClosed = false;
	}
}

/** The global Echo that Laravel's `bootstrap.js` creates, or one from the environment. */
export const defaultSource = new EchoSource({
	echo: () => {
		const { Echo: global } = window as { Echo?: PusherEcho };
		// Echo's script for pages without a bundler leaves its class here; that is not an instance.
		return typeof global === 'object' ? global : createEcho();
	},
});
