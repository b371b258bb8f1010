// Type tests, checked by tsc and never run: code that does not match events.d.ts must not compile.

import { createElement } from 'react';
import {
	ClarimProvider, useChannel, useEcho, useEncryptedChannel, useModel, useNotifications, usePresenceChannel,
	usePrivateChannel, useSubscription, useUser, useWebSocketStatus, useWhisper,
} from '../../src/index.js';

const isNumber = (value: number): number => value;
const isString = (value: string): string => value;

export function Channels(): void {
	useChannel('orders', {
		OrderShipped: ({ order, carrier }) => [isNumber(order), isString(carrier ?? '')],
		'.order.paid': async ({ amount }) => isString(amount),
	});
	useChannel(null);

	useChannel('orders', {}, { onMissed: ({ channel, reason }) => [isString(channel), reason === 'expired'] });

	// @ts-expect-error no such reason
	usePrivateChannel('orders', {}, { onMissed: ({ reason }) => reason === 'expires' });
	// @ts-expect-error no such event
	useChannel('orders', { OrderSent: () => {} });
	// @ts-expect-error the dot is missing
	usePrivateChannel('orders', { 'order.paid': () => {} });
	// @ts-expect-error no such field
	usePrivateChannel('orders', { OrderShipped: ({ id }) => id });
	// @ts-expect-error the field is a number
	useEncryptedChannel('orders', { OrderShipped: ({ order }) => isString(order) });
	// @ts-expect-error the field may be null
	useChannel('orders', { OrderShipped: ({ carrier }) => isString(carrier) });
	// @ts-expect-error the callback wants another payload
	useChannel('orders', { OrderShipped: (event: { order: string }) => event });
	// @ts-expect-error a name is a string
	useChannel(7);
}

/** An event map for single calls, for example of a second backend. */
interface Other {
	Ping: { at: Date };
}

export function OtherEvents(): void {
	useChannel<Other>('pings', { Ping: ({ at }) => at.getTime() });
	// @ts-expect-error not in this map
	useChannel<Other>('pings', { OrderShipped: () => {} });
}

interface Person { id: number; name: string }

export function Presence(): void {
	const { users, channel } = usePresenceChannel<Person>('chat.1', {
		here: (all) => all.map(({ name }) => isString(name)),
		joining: ({ id }) => isNumber(id),
		onMissed: ({ reason }) => isString(reason),
		events: { OrderShipped: ({ order }) => isNumber(order) },
	});
	users.map(({ name }) => isString(name));
	channel?.whisper('typing', {});
	// @ts-expect-error no such field
	usePresenceChannel<Person>('chat.1', { joining: ({ email }) => email });
	// @ts-expect-error no such event
	usePresenceChannel<Person>('chat.1', { events: { OrderSent: () => {} } });
	// @ts-expect-error the list is read-only
	users.push({ id: 1, name: 'Ana' });
}

export function Additions(): void {
	const { whisper, recent } = useWhisper<{ name: string }>(usePrivateChannel('chat.1'), 'typing');
	whisper({ name: 'Ana' });
	recent.map(({ name }) => isString(name));
	// @ts-expect-error no such field
	whisper({ nome: 'Ana' });
	// @ts-expect-error no whispers on public channels
	useWhisper(useChannel('chat.1'), 'typing', {});
	useSubscription(useChannel('chat.1'), ({ since }) => since.getTime());
}

export function Records(): void {
	const { notifications } = useNotifications<{ message: string }>('App.Models.User.1', {
		onNotification: ({ id, type, message }) => [id, type, message].map(isString),
		// @ts-expect-error a notification has a type
		load: async () => [{ id: '1', message: 'Oi' }],
	});
	notifications.map(({ message }) => isString(message));

	const { setModel } = useModel<{ status: string }>('App.Models.Order', 7, {
		events: {
			Updated: ({ status }) => isString(status),
			// @ts-expect-error no such event of a model
			Exploded: () => {},
		},
	});
	setModel({ status: 'paid' });
	// @ts-expect-error no such field
	setModel({ state: 'paid' });
}

export function User(): boolean {
	useUser({ id: 7, events: { '.order.paid': ({ amount }) => isString(amount) } });
	// @ts-expect-error no such event
	useUser({ events: { '.order.sent': () => {} } });
	isString(useEcho()?.socketId() ?? '');
	return useWebSocketStatus().connectionState === 'connected';
}

createElement(ClarimProvider, { options: { key: 'my-key', scheme: 'https' } });
// @ts-expect-error no such scheme
createElement(ClarimProvider, { options: { key: 'my-key', scheme: 'ftp' } });
