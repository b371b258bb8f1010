// Type tests, checked by vue-tsc and never run: code that does not match the Rust events must not compile.

import { useNotifications, usePresenceChannel, usePrivateChannel, useUser } from '@clarim/vue';
import type { Notifications } from '../src/events';

const isNumber = (value: number): number => value;
const isString = (value: string): string => value;

export function fits(): void {
	usePrivateChannel('chat.1', {
		MessageSent: ({ message }) => [isNumber(message.seq), isString(message.body)],
		ConversationRead: ({ user, seq }) => isNumber(user) + isNumber(seq),
	});
	usePrivateChannel('App.Models.User.1', {
		ConversationCreated: ({ conversation }) => isNumber(conversation),
		NotificationsRead: ({ ids }) => ids?.map(isString),
	});
	usePrivateChannel('dashboard', { MetricsUpdated: ({ sample }) => isNumber(sample.cpu) });
	usePrivateChannel('documents', { DocumentCreated: ({ document }) => isString(document.title) });
	usePresenceChannel('document.1', { events: { DocumentUpdated: ({ update }) => isString(update ?? '') } });
}

export function wrongNames(): void {
	// @ts-expect-error no such event
	usePrivateChannel('chat.1', { MessageSend: () => {} });
	// @ts-expect-error a leading dot means the exact event name
	usePrivateChannel('chat.1', { '.MessageSent': () => {} });
	// @ts-expect-error no such event
	usePresenceChannel('document.1', { events: { DocumentChanged: () => {} } });
	// @ts-expect-error no such event
	useUser({ events: { MessageSend: () => {} } });
}

export function wrongFields(): void {
	// @ts-expect-error no such field
	usePrivateChannel('chat.1', { MessageSent: ({ text }) => text });
	// @ts-expect-error no such nested field
	usePrivateChannel('chat.1', { MessageSent: ({ message }) => message.text });
	// @ts-expect-error a number
	usePrivateChannel('chat.1', { MessageSent: ({ message }) => isString(message.seq) });
	// @ts-expect-error it may be null
	usePresenceChannel('document.1', { events: { DocumentUpdated: ({ update }) => isString(update) } });
	// @ts-expect-error the conversation is part of the channel name, not of the payload
	usePrivateChannel('chat.1', { MessageSent: ({ conversation }) => conversation });
}

export function notifications(): void {
	useNotifications<Notifications[keyof Notifications]>('App.Models.User.1', {
		onNotification: (told) => {
			if (told.type === 'App\\Notifications\\LimitCrossed') return isNumber(told.value);
			// @ts-expect-error a field of another notification
			if (told.type === 'App\\Notifications\\Mentioned') return told.value;
			// @ts-expect-error no such notification
			return told.type === 'App\\Notifications\\Mention';
		},
	});
}
