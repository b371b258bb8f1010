import Echo, { type Broadcaster, type EchoOptions } from 'laravel-echo';
import Pusher from 'pusher-js';
import { hasInjectionContext, inject, type App, type InjectionKey, type Plugin } from 'vue';

/** Laravel Echo over pusher-js. */
export type PusherEcho = Echo<'reverb'>;

/** Any Echo that may be handed in: they differ in their options only. */
export type AnyEcho = PusherEcho | Echo<'pusher'> | Echo<'ably'> | Echo<'null'>;

export type PublicChannel = Broadcaster['reverb']['public'];
export type PrivateChannel = Broadcaster['reverb']['private'];
export type EncryptedChannel = Broadcaster['reverb']['encrypted'];
export type PresenceChannel = Broadcaster['reverb']['presence'];

/** Where the server is. What is missing comes from `VITE_REVERB_APP_KEY`, `_HOST`, `_PORT` and `_SCHEME`. */
export interface ServerAddress {
	key?: string;
	host?: string;
	port?: number | string;
	scheme?: 'http' | 'https';
}

/**
 * For `app.use(ClarimVue, options)`: an Echo, or what one is made with (any option of Echo and pusher-js).
 */
export type ClarimVueOptions =
	| {
		/** An instance, or a function that makes one when it is first needed: never on the server. */
		echo: AnyEcho | (() => AnyEcho);
	}
	| (ServerAddress & Partial<EchoOptions<'reverb'>>);

type Source = () => PusherEcho;

const SOURCE: InjectionKey<Source> = Symbol('@clarim/vue');

/** For those who ask outside of an application: the last one installed, or the defaults. */
let fallback: Source | undefined;

/** Whether there is a browser: on the server nothing connects. */
export const isBrowser = (): boolean => typeof window !== 'undefined';

function environment(): Record<string, string | undefined> {
	// Vite puts the variables here, in development and in the build. Elsewhere there is nothing.
	return import.meta.env ?? {};
}

/** Makes an Echo for a Reverb-compatible server, from options and `VITE_REVERB_*`. */
export function createEcho(options: ServerAddress & Partial<EchoOptions<'reverb'>> = {}): PusherEcho {
	const env = environment();
	const { key = env.VITE_REVERB_APP_KEY, host, port, scheme, ...more } = options;
	if (!key) {
		throw new Error('@clarim/vue: no app key. Set VITE_REVERB_APP_KEY, or app.use(ClarimVue, { key: … })');
	}
	const at = Number(port ?? env.VITE_REVERB_PORT) || undefined;
	return new Echo({
		Pusher,
		wsHost: host ?? env.VITE_REVERB_HOST ?? window.location.hostname,
		wsPort: at ?? 80,
		wssPort: at ?? 443,
		forceTLS: (scheme ?? env.VITE_REVERB_SCHEME ?? 'https') === 'https',
		enabledTransports: ['ws', 'wss'],
		...more,
		broadcaster: 'reverb',
		key,
	} as EchoOptions<'reverb'>);
}

/** The global that Laravel's `bootstrap.js` makes, or one from the environment. */
const byDefault: Source = once(() => {
	const { Echo: global } = window as { Echo?: PusherEcho };
	// A function is Echo's class, which its script for pages without a bundler leaves there.
	return typeof global === 'object' ? global : createEcho();
});

function once(make: Source): Source & { made?: PusherEcho } {
	const source: Source & { made?: PusherEcho } = () => (source.made ??= make());
	return source;
}

/** Says where the composables get their Echo from. Without it they use `window.Echo`, or `VITE_REVERB_*`. */
export const ClarimVue: Plugin<[options?: ClarimVueOptions]> = {
	install(app: App, options: ClarimVueOptions = {}) {
		const given = 'echo' in options ? options.echo : undefined;
		const source = once(() => {
			if (typeof given === 'function') return given() as PusherEcho;
			return (given as PusherEcho | undefined) ?? createEcho(options as ServerAddress);
		});
		app.provide(SOURCE, source);
		// On the server many applications live in one process: nothing may pass from one to another.
		if (!isBrowser()) return;
		fallback = source;
		app.onUnmount(() => {
			if (fallback === source) fallback = undefined;
			// An Echo that was handed in has an owner.
			if (!given) source.made?.disconnect();
		});
	},
};

/** Found in `setup`, asked when there is a browser. */
export function echoSource(): Source {
	return (hasInjectionContext() ? inject(SOURCE, undefined) : undefined) ?? fallback ?? byDefault;
}

/** The Echo that the composables use, for what they don't cover (`socketId()`); `null` on the server. */
export function useEcho(): PusherEcho | null {
	const source = echoSource();
	return isBrowser() ? source() : null;
}
