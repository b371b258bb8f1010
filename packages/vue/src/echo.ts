import { authorize, recover, type AuthorizationOptions } from '@clarim/js';
import Echo, { type Broadcaster, type EchoOptions } from 'laravel-echo';
import Pusher from 'pusher-js';
import { hasInjectionContext, inject, type App, type InjectionKey, type Plugin } from 'vue';
import { followWatchlist } from './watchlist.js';

/** Laravel Echo on pusher-js. */
export type PusherEcho = Echo<'reverb'>;

/** Any accepted Echo instance. The types differ only in their options. */
export type AnyEcho = PusherEcho | Echo<'pusher'> | Echo<'ably'> | Echo<'null'>;

export type PublicChannel = Broadcaster['reverb']['public'];
export type PrivateChannel = Broadcaster['reverb']['private'];
export type EncryptedChannel = Broadcaster['reverb']['encrypted'];
export type PresenceChannel = Broadcaster['reverb']['presence'];

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

/**
 * Options of `app.use(ClarimVue, options)`: an Echo instance, or the options to create one (all options of Echo
 * and pusher-js).
 */
export type ClarimVueOptions = Reliability & (
	| {
		/** An instance, or a function that creates one on first use. Never called on the server. */
		echo: AnyEcho | (() => AnyEcho);
	}
	| (ServerAddress & Partial<EchoOptions<'reverb'>>)
);

type Source = () => PusherEcho;

const SOURCE: InjectionKey<Source> = Symbol('@clarim/vue');

/** Used outside of an application: the last installed source, or the defaults. */
let fallback: Source | undefined;

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
	if (!key) {
		throw new Error('@clarim/vue: no app key. Set VITE_REVERB_APP_KEY, or app.use(ClarimVue, { key: … })');
	}
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

/** Returns the global Echo that Laravel's `bootstrap.js` creates, or one from the environment. */
const byDefault: Source = once(() => {
	const { Echo: global } = window as { Echo?: PusherEcho };
	// Echo's script for pages without a bundler leaves its class here; that is not an instance.
	return typeof global === 'object' ? global : createEcho();
});

function once(make: Source): Source & { made?: PusherEcho } {
	const source: Source & { made?: PusherEcho } = () => (source.made ??= prepared(make()));
	return source;
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

/** Sets the Echo instance of the composables. Without it they use `window.Echo` or `VITE_REVERB_*`. */
export const ClarimVue: Plugin<[options?: ClarimVueOptions]> = {
	install(app: App, options: ClarimVueOptions = {}) {
		const given = 'echo' in options ? options.echo : undefined;
		const source = once(() => {
			const echo = typeof given === 'function' ? given() : given;
			return echo ? prepared(echo as PusherEcho, options.authorization) : createEcho(options as ServerAddress);
		});
		app.provide(SOURCE, source);
		// On the server one process serves many applications, so there must be no shared state.
		if (!isBrowser()) return;
		fallback = source;
		app.onUnmount(() => {
			if (fallback === source) fallback = undefined;
			// The caller owns an Echo that was passed in.
			if (!given) source.made?.disconnect();
		});
	},
};

/** Looks up the source in `setup`; the returned function is called in the browser. */
export function echoSource(): Source {
	return (hasInjectionContext() ? inject(SOURCE, undefined) : undefined) ?? fallback ?? byDefault;
}

/** Returns the Echo instance of the composables, for other features (`socketId()`). `null` on the server. */
export function useEcho(): PusherEcho | null {
	const source = echoSource();
	return isBrowser() ? source() : null;
}
