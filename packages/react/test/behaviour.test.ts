import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { behaviour, type Adapter, type Order, type Person, type Typing, type View } from '../../js/test/echo/suite.js';
import {
	useChannel, useEncryptedChannel, useModel, useNotifications, usePresenceChannel, usePrivateChannel, useSubscription,
	useUser, useWebSocketStatus, useWhisper, type PublicChannel, type PusherEcho,
} from '../src/index.js';
import { startWorld, type World } from './world.js';

let world: World;
beforeAll(async () => { world = await startWorld(); });
afterEach(() => world.clear());
afterAll(() => world.close());

type ChannelHook = (name: string | null, events: object, options: object) => PublicChannel | null;

function adapter(isStrict: boolean): Adapter {
	const view = <A, T>(echo: PusherEcho, argument: A, use: (argument: A) => T): View<A, T> =>
		world.mount(echo, argument, use, isStrict);
	const channel = (hook: ChannelHook): Adapter['channel'] =>
		(echo, name, { events = {}, onResubscribed, ...options }) => view(echo, name, (now) => {
			// Other objects in each render, as in most components.
			const joined = hook(now, { ...events }, { ...options });
			return { channel: joined, ...useSubscription(joined, () => onResubscribed?.()) };
		});
	return {
		channel: channel(useChannel),
		privateChannel: channel(usePrivateChannel),
		encryptedChannel: channel(useEncryptedChannel),
		presence: (echo, name, handlers) => view(echo, name, (now) => usePresenceChannel<Person>(now, { ...handlers })),
		whisper: (echo, name, options) => view(echo, name, (now) => {
			const joined = usePrivateChannel(now);
			return { ...useWhisper<Typing>(joined, 'typing', { ...options }), ...useSubscription(joined) };
		}),
		status: (echo) => view(echo, null, useWebSocketStatus),
		notifications: (echo, name, options) => view(echo, name, (now) => useNotifications(now, { ...options })),
		model: (echo, id, options) => view(echo, id, (now) => useModel<Order>('App.Models.Order', now, { ...options })),
		user: (echo, argument, options) => view(echo, argument, (now) => useUser({
			...options, ...(typeof now === 'boolean' ? { when: now } : { id: now }),
		})),
	};
}

describe.each([['', false], [' in StrictMode', true]])('a component%s', (_, isStrict) => {
	behaviour({ describe, expect, test }, () => world, adapter(isStrict));
});
