import { ref } from 'vue';
import { local } from './storage';

export type Theme = 'light' | 'dark' | 'system';

const stored = local.get('theme');
export const theme = ref<Theme>(stored === 'light' || stored === 'dark' ? stored : 'system');

/** The theme choice; `theme.js` in `design` applies it. */
export function setTheme(chosen: Theme): void {
	theme.value = chosen;
	local.set('theme', chosen === 'system' ? null : chosen);
	dispatchEvent(new Event('themechange'));
}
