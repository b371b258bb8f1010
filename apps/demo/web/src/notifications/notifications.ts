// The user's stored and pushed notifications, shared by all pages and tabs.

import { useNotifications, usePrivateChannel, useSubscription, type NotificationRow } from '@clarim/vue';
import { computed, inject, provide, type InjectionKey } from 'vue';
import { useI18n } from 'vue-i18n';
import { useRouter } from 'vue-router';
import { loadConversations } from '../chat/conversations';
import { useErrorText } from '../errors';
import type { Notifications } from '../events';
import { api, me } from '../session';
import { toast } from '../ui/toasts';
import { useDescription } from './description';

/** One of the notifications declared in Rust, by `type`. */
export type Told = Notifications[keyof Notifications] & { read_at?: string | null; created_at?: string };

function create() {
	const { t } = useI18n();
	const router = useRouter();
	const describe = useDescription();
	const errorText = useErrorText();
	const name = `App.Models.User.${me().id}`;

	const isSeen = (told: Told): boolean => {
		if (document.visibilityState !== 'visible') return false;
		const { path } = router.currentRoute.value;
		if (path === '/notifications') return true;
		if (told.type !== 'App\\Notifications\\Mentioned' || path !== `/chat/${told.conversation}`) return false;
		void markRead(told.id);
		return true;
	};
	const all = useNotifications<Told>(name, {
		load: () => api<NotificationRow<Told>[]>('GET', '/api/notifications'),
		save: (ids) => api('POST', '/api/notifications/read', { ids }),
		saveAll: () => api('POST', '/api/notifications/read', { ids: null }),
		onNotification(told) {
			// It is seen where the user is.
			if (isSeen(told)) return;
			const { title, text, link } = describe(told);
			toast({
				title,
				text,
				kind: 'info',
				action: link === undefined ? undefined : {
					label: t('notificationsPage.show'),
					run: () => {
						void markRead(told.id);
						void router.push(link);
					},
				},
			});
		},
	});

	const ids = () => all.notifications.value.map(({ id }) => id);
	// Actions of this user on another device.
	usePrivateChannel(name, {
		NotificationsRead: (event) => all.setRead(event.ids ?? ids()),
		ConversationCreated: () => void loadConversations(),
	}, { onMissed: () => void loadConversations() });

	const failed = (error: unknown) =>
		toast({ kind: 'error', title: t('notificationsPage.failed'), text: errorText(error) });
	const markRead = (id: string) => all.markRead(id).catch(failed);
	const markAllRead = () => all.markAllRead().catch(failed);

	const { notifications, unread, isLoading, error, reload } = all;
	const { isSubscribed } = useSubscription(all.channel);
	/** From now on, each notification is pushed here. */
	const isLive = computed(() => isSubscribed.value && !isLoading.value);
	return { isLive, notifications, unread, isLoading, error, reload, markRead, markAllRead };
}

const KEY: InjectionKey<ReturnType<typeof create>> = Symbol('notifications');

/** Provides the notifications to all child components. */
export function provideNotifications() {
	const all = create();
	provide(KEY, all);
	return all;
}

export function useMyNotifications() {
	const all = inject(KEY);
	if (!all) throw new Error('provideNotifications has not been called above this component');
	return all;
}
