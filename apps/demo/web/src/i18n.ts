// Portuguese and English. The texts of each feature are in its `words.ts`.

import { createI18n } from 'vue-i18n';
import * as chat from './chat/words';
import * as dashboard from './dashboard/words';
import * as editor from './editor/words';
import * as notifications from './notifications/words';
import * as common from './words';
import { local } from './storage';

const pt = {
	...common.pt, chatPage: chat.pt, notificationsPage: notifications.pt, dashboardPage: dashboard.pt, editorPage: editor.pt,
};

export type Words = typeof pt;

const en: Words = {
	...common.en, chatPage: chat.en, notificationsPage: notifications.en, dashboardPage: dashboard.en, editorPage: editor.en,
};

export const LANGUAGES = { 'pt-BR': 'Português', en: 'English' } as const;
export type Language = keyof typeof LANGUAGES;

function preferred(): Language {
	const chosen = local.get('language');
	if (chosen === 'pt-BR' || chosen === 'en') return chosen;
	return navigator.language.startsWith('en') ? 'en' : 'pt-BR';
}

export const i18n = createI18n<[Words], Language, false>({
	legacy: false,
	locale: preferred(),
	fallbackLocale: 'pt-BR',
	messages: { 'pt-BR': pt, en },
});

export const language = i18n.global.locale;

export function setLanguage(chosen: Language): void {
	language.value = chosen;
	local.set('language', chosen);
	document.documentElement.lang = chosen;
}

document.documentElement.lang = language.value;

/** 14:05 */
export const time = (at: number | string | Date): string =>
	new Intl.DateTimeFormat(language.value, { hour: 'numeric', minute: '2-digit' }).format(new Date(at));

/** Today, yesterday, 3 de março */
export function day(at: number | string | Date): string {
	const midnight = (date: Date): number => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
	const then = new Date(at);
	const days = Math.round((midnight(then) - midnight(new Date())) / 86_400_000);
	if (days > -2) return new Intl.RelativeTimeFormat(language.value, { numeric: 'auto' }).format(days, 'day');
	return new Intl.DateTimeFormat(language.value, { day: 'numeric', month: 'long' }).format(then);
}

/** 3 minutes ago */
export function ago(at: number | string | Date, now: number): string {
	const seconds = Math.min(0, Math.round((new Date(at).getTime() - now) / 1000));
	const format = new Intl.RelativeTimeFormat(language.value, { numeric: 'auto' });
	if (seconds > -60) return format.format(0, 'second');
	if (seconds > -3600) return format.format(Math.round(seconds / 60), 'minute');
	if (seconds > -86_400) return format.format(Math.round(seconds / 3600), 'hour');
	return format.format(Math.round(seconds / 86_400), 'day');
}
