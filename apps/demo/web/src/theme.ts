import { ref } from 'vue';

export type Theme = 'light' | 'dark' | 'system';

const stored = localStorage.getItem('theme');
export const theme = ref<Theme>(stored === 'light' || stored === 'dark' ? stored : 'system');

/** The theme choice; `public/theme.js` applies it. */
export function setTheme(chosen: Theme): void {
	theme.value = chosen;
	if (chosen === 'system') localStorage.removeItem('theme');
	else localStorage.setItem('theme', chosen);
	dispatchEvent(new Event('themechange'));
}
