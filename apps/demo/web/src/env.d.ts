import '@clarim/vue';
import type { Events as Sent } from './events';
import type { Words } from './i18n';

declare module '@clarim/vue' {
	// What Rust sends, as `clarim-demo types` writes it.
	interface Events extends Sent {}
}

declare module 'vue-i18n' {
	// A text that is missing in one language doesn't build.
	export interface DefineLocaleMessage extends Words {}
}
