import { defaultSource, EchoSource, isBrowser, type EchoSourceOptions, type PusherEcho } from '@clarim/js/echo';
import { hasInjectionContext, inject, type App, type InjectionKey, type Plugin } from 'vue';

/**
 * Options of `app.use(ClarimVue, options)`: an Echo instance, or the options to create one (all options of Echo
 * and pusher-js).
 */
export type ClarimVueOptions = EchoSourceOptions;

const SOURCE: InjectionKey<EchoSource> = Symbol('@clarim/vue');

/** Used outside of an application: the last installed source, or the defaults. */
let fallback: EchoSource | undefined;

/** Sets the Echo instance of the composables. Without it they use `window.Echo` or `VITE_REVERB_*`. */
export const ClarimVue: Plugin<[options?: ClarimVueOptions]> = {
	install(app: App, options: ClarimVueOptions = {}) {
		const source = new EchoSource(options);
		app.provide(SOURCE, source);
		// On the server one process serves many applications, so there must be no shared state.
		if (!isBrowser()) return;
		fallback = source;
		app.onUnmount(() => {
			if (fallback === source) fallback = undefined;
			source.close();
		});
	},
};

/** Looks up the source in `setup`; the returned function is called in the browser. */
export function echoSource(): () => PusherEcho {
	const source = hasInjectionContext() ? inject(SOURCE, undefined) : undefined;
	return (source ?? fallback ?? defaultSource).get;
}

/** Returns the Echo instance of the composables, for other features (`socketId()`). `null` on the server. */
export function useEcho(): PusherEcho | null {
	const source = echoSource();
	return isBrowser() ? source() : null;
}
