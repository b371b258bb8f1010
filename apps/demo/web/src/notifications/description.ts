import { AtSign, Bell, Gauge, MessageSquareText } from '@lucide/vue';
import type { Component } from 'vue';
import { useI18n } from 'vue-i18n';
import { useFormat } from '../dashboard/format';
import type { Told } from './notifications';

export interface Description {
	icon: Component;
	title: string;
	text: string;
	/** Where it leads. */
	link?: string;
}

/** What is shown of a notification, in the user's language: the backend sends what happened, not sentences. */
export function useDescription(): (told: Told) => Description {
	const { t } = useI18n();
	const { withUnit } = useFormat();
	return (told) => {
		switch (told.type) {
			case 'App\\Notifications\\Mentioned':
				return {
					icon: AtSign,
					title: t('notificationsPage.mentioned', { from: told.from }),
					text: told.text,
					link: `/chat/${told.conversation}`,
				};
			case 'App\\Notifications\\Greeting':
				return { icon: MessageSquareText, title: t('notificationsPage.greeting', { from: told.from }), text: told.text };
			case 'App\\Notifications\\LimitCrossed':
				return {
					icon: Gauge,
					title: t(`dashboardPage.crossed.${told.metric}`),
					text: t('dashboardPage.crossed.text', {
						value: withUnit(told.metric, told.value), above: withUnit(told.metric, told.above),
					}),
					link: '/dashboard',
				};
			default:
				// Of a backend that is newer than this page.
				return { icon: Bell, title: t('notificationsPage.other'), text: '' };
		}
	};
}
