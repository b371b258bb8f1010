// Type tests, checked by vue-tsc and never run: code that does not match events.d.ts must not compile.

import { ref } from 'vue';
import {
	useChannel, useEncryptedChannel, useModel, useNotifications, usePresenceChannel, usePrivateChannel,
	useSubscription, useUser, useWebSocketStatus, useWhisper,
} from '../../src/index.js';

const isNumber = (value: number): number => value;
const isString = (value: string): string => value;

export function channels(): void {
	useChannel('orders', {
		OrderShipped: ({ order, carrier }) => [isNumber(order), isString(carrier ?? '')],
		'.order.paid': async ({ amount }) => isString(amount),
	});
	useChannel(ref('orders'));
	useChannel(() => null);

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

export function otherEvents(): void {
	useChannel<Other>('pings', { Ping: ({ at }) => at.getTime() });
	// @ts-expect-error not in this map
	useChannel<Other>('pings', { OrderShipped: () => {} });
}

interface Person { id: number; name: string }

export function presence(): void {
	const { users, channel } = usePresenceChannel<Person>('chat.1', {
		here: (all) => all.map(({ name }) => isString(name)),
		joining: ({ id }) => isNumber(id),
		onMissed: ({ reason }) => isString(reason),
		events: { OrderShipped: ({ order }) => isNumber(order) },
	});
	users.value.map(({ name }) => isString(name));
	channel.value?.whisper('typing', {});
	// @ts-expect-error no such field
	usePresenceChannel<Person>('chat.1', { joining: ({ email }) => email });
	// @ts-expect-error no such event
	usePresenceChannel<Person>('chat.1', { events: { OrderSent: () => {} } });
	// @ts-expect-error the list is read-only
	users.value.push({ id: 1, name: 'Ana' });
}

export function additions(): void {
	const { whisper, recent } = useWhisper<{ name: string }>(usePrivateChannel('chat.1'), 'typing');
	whisper({ name: 'Ana' });
	recent.value.map(({ name }) => isString(name));
	// @ts-expect-error no such field
	whisper({ nome: 'Ana' });
	// @ts-expect-error no whispers on public channels
	useWhisper(useChannel('chat.1'), 'typing', {});
	useSubscription(useChannel('chat.1'), ({ since }) => since.getTime());
}

export function records(): void {
	const { notifications } = useNotifications<{ message: string }>('App.Models.User.1', {
		onNotification: ({ id, type, message }) => [id, type, message].map(isString),
		// @ts-expect-error a notification has a type
		load: async () => [{ id: '1', message: 'Oi' }],
	});
	notifications.value.map(({ message }) => isString(message));

	const { model } = useModel<{ status: string }>('App.Models.Order', 7, {
		events: {
			Updated: ({ status }) => isString(status),
			// @ts-expect-error no such event of a model
			Exploded: () => {},
		},
	});
	model.value = { status: 'paid' };
	// @ts-expect-error no such field
	model.value = { state: 'paid' };
}

export function user(): boolean {
	useUser({ events: { '.order.paid': ({ amount }) => isString(amount) } });
	// @ts-expect-error no such event
	useUser({ events: { OrderSent: () => {} } });
	const { isConnected, connectionState } = useWebSocketStatus();
	// @ts-expect-error it is read only
	isConnected.value = true;
	// @ts-expect-error not one of pusher-js's states
	return connectionState.value === 'offline';
}
