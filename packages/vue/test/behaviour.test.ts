import { proxyRefs, shallowRef, type ShallowUnwrapRef } from 'vue';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { behaviour, type Adapter, type ChannelUse, type Order, type Person, type Typing, type View } from '../../js/test/echo/suite.js';
import {
	useChannel, useEncryptedChannel, useModel, useNotifications, usePresenceChannel, usePrivateChannel, useSubscription,
	useUser, useWebSocketStatus, useWhisper, type ChannelRef, type PublicChannel, type PusherEcho,
} from '../src/index.js';
import { startWorld, type World } from './world.js';

let world: World;
beforeAll(async () => { world = await startWorld(); });
afterEach(() => world.clear());
afterAll(() => world.close());

function view<A, T extends object>(echo: PusherEcho, argument: A, setup: (argument: () => A) => T): View<A, ShallowUnwrapRef<T>> {
	const current = shallowRef(argument);
	const { result, unmount } = world.run(echo, () => proxyRefs(setup(() => current.value)));
	return {
		now: result,
		change: (next) => {
			current.value = next;
		},
		unmount,
	};
}

type Composable = (name: () => string | null, events: object, options: object) => ChannelRef<PublicChannel>;

const channel = (composable: Composable): Adapter['channel'] =>
	(echo, name, { events = {}, onResubscribed, ...options }: ChannelUse) => view(echo, name, (now) => {
		const joined = composable(now, events, options);
		return { channel: joined, ...useSubscription(joined, onResubscribed) };
	});

behaviour({ describe, expect, test }, () => world, {
	channel: channel(useChannel),
	privateChannel: channel(usePrivateChannel),
	encryptedChannel: channel(useEncryptedChannel),
	presence: (echo, name, handlers) => view(echo, name, (now) => usePresenceChannel<Person>(now, handlers)),
	whisper: (echo, name, options) => view(echo, name, (now) => {
		const joined = usePrivateChannel(now);
		return { ...useWhisper<Typing>(joined, 'typing', options), ...useSubscription(joined) };
	}),
	status: (echo) => view(echo, null, useWebSocketStatus),
	notifications: (echo, name, options) => view(echo, name, (now) => useNotifications(now, options)),
	model: (echo, id, options) => view(echo, id, (now) => useModel<Order>('App.Models.Order', now, options)),
	user: (echo, argument, options) => view(echo, argument, (now) => useUser({
		...options, ...(typeof argument === 'boolean' ? { when: () => now() === true } : { id: () => now() as number | null }),
	})),
});
