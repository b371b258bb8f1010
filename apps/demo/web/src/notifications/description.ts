import { AtSign, Bell, Gauge, MessageSquareText } from '@lucide/vue';
import type { Component } from 'vue';
import { useI18n } from 'vue-i18n';
import { changedText } from '../chat/conversations';
import { useFormat } from '../dashboard/format';
import type { Told } from './notifications';

export interface Description {
	icon: Component;
	title: string;
	text: string;
	/** Link target. */
	link?: string;
}

/** Returns the text of a notification in the user's language. The backend sends data, not text. */
export function useDescription(): (told: Told) => Description {
	const { t } = useI18n();
	const { withUnit } = useFormat();
	return (told) => {
		switch (told.type) {
			case 'App\\Notifications\\Mentioned':
				return {
					icon: AtSign,
					title: t('notificationsPage.mentioned', { from: told.from }),
					text: (told.message && changedText(told.message)) ?? told.text,
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
				// A notification type that this version of the page doesn't know.
				return { icon: Bell, title: t('notificationsPage.other'), text: '' };
		}
	};
}
