// What is special about React: renders, effects and providers.

import * as React from 'react';
import { createElement, StrictMode, useLayoutEffect, version, type FunctionComponent, type ReactNode } from 'react';
import { flushSync, version as versionOfDom } from 'react-dom';
import { hydrateRoot } from 'react-dom/client';
import { renderToString } from 'react-dom/server';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import {
	ClarimProvider, useChannel, useEcho, useEncryptedChannel, useModel, useNotifications, usePresenceChannel,
	usePrivateChannel, useSubscription, useUser, useWebSocketStatus, useWhisper, type PusherEcho,
} from '../src/index.js';
import { boundHandlers, requestHooks, startWorld, state, until, type World } from './world.js';

let world: World;
beforeAll(async () => { world = await startWorld(); });
afterEach(async () => {
	vi.unstubAllEnvs();
	vi.unstubAllGlobals();
	await world.clear();
});
afterAll(() => world.close());

test('the tests run with the version of their project', () => {
	expect([version, versionOfDom].map((one) => one.split('.')[0])).toEqual([process.env.REACT, process.env.REACT]);
});

describe('handlers', () => {
	test('that change in each render cause no new subscription, and the last ones are called', async () => {
		const [echo, heard] = [world.browser(), [] as string[]];
		const handler = (name: string) => ({ '.shipped': ({ n }: { n: number }) => heard.push(`${name} ${n}`) });
		const view = world.mount(echo, 'first', (name) => {
			const { channel } = usePresenceChannel('orders', { here: () => heard.push(`${name} here`), events: handler(name) });
			return { ...useSubscription(usePrivateChannel('orders', handler(name))), joined: useSubscription(channel) };
		});
		// The presence channel is forbidden for guests; the private one counts.
		await until(() => view.now.isSubscribed && view.now.joined.error);
		const [asked, handlers] = [world.auth.requests.length, boundHandlers(echo)];
		for (let n = 0; n < 50; n += 1) view.change(`name${n}`);
		expect(boundHandlers(echo)).toBe(handlers);
		await world.sdk.trigger('private-orders', 'shipped', { n: 1 });
		await until(() => heard.length > 0);
		expect(heard).toEqual(['name49 1']);
		expect(world.auth.requests.length).toBe(asked);
	});

	test('may come and go', async () => {
		const [echo, heard] = [world.browser(), [] as string[]];
		const on = (name: string) => ({ [`.${name}`]: () => heard.push(name) });
		const view = world.mount(echo, on('a') as object, (events) => useSubscription(usePrivateChannel('orders', events)));
		await until(() => view.now.isSubscribed);
		view.change({ ...on('b'), '.c': undefined });
		await world.sdk.trigger('private-orders', 'a', {});
		await world.sdk.trigger('private-orders', 'b', {});
		await until(() => heard.length > 0);
		expect(heard).toEqual(['b']);
		expect(world.auth.requests.length).toBe(1);
	});

	test('of a member list see the members once, although other events come and go', async () => {
		const here: number[] = [];
		const view = world.mount(world.browser({ id: 1, info: {} }), {}, (events) =>
			usePresenceChannel('chat', { here: (all) => here.push(all.length), events }));
		await until(() => view.now.users.length === 1);
		view.change({ '.a': () => {} });
		expect(here).toEqual([1]);
		expect(view.now.users.length).toBe(1);
	});

	test('never get an event of the former channel or user', async () => {
		const echo = world.browser({ id: 1, info: {} });
		const heard: string[] = [];
		const { pusher } = echo.connector;
		const view = world.mount(echo, { id: 1, emit: false }, ({ id, emit }) => {
			const events = { '.told': ({ of }: { of: number }) => heard.push(`${of} to ${id}`) };
			const channel = usePrivateChannel(`orders.${id}`, events);
			const { user } = useUser({ id, events });
			// The last moment before the other effects of the render.
			useLayoutEffect(() => {
				if (!emit) return;
				pusher.channel('private-orders.1').emit('told', { of: 1 });
				pusher.user.emit('told', { of: 1 });
			}, [id, emit]);
			return { user, channel };
		});
		await until(() => view.now.user && view.now.channel?.subscription.subscribed);
		view.change({ id: 1, emit: true });
		expect(heard).toEqual(['1 to 1', '1 to 1']);
		view.change({ id: 2, emit: true });
		expect(heard.length).toBe(2);
		// The channel is subscribed before the hook for the user signs the former one out, and again afterwards.
		await until(() => view.now.user && view.now.channel?.name === 'private-orders.2' && view.now.channel.subscription.subscribed);
	});
});

test('no render with another name shows values of the former one', async () => {
	const echo = world.browser({ id: 1, info: { name: 'Ana' } });
	const seen: string[] = [];
	const view = world.mount(echo, 1, (id) => {
		const { channel, users } = usePresenceChannel(`chat.${id}`);
		const { isSubscribed } = useSubscription(channel);
		const { notifications } = useNotifications(`App.Models.User.${id}`, { load: async () => [{ id: `of ${id}`, type: 'T' }] });
		const { model } = useModel('App.Models.Order', id, { load: async (wanted) => ({ id: wanted }) });
		seen.push(JSON.stringify([id, channel?.name ?? null, users.length, isSubscribed, notifications.map((one) => one.id), model]));
		return { isComplete: isSubscribed && users.length === 1 && notifications.length === 1 && model !== null };
	});
	await until(() => view.now.isComplete);
	const before = seen.length;
	view.change(2);
	await until(() => view.now.isComplete);
	expect(seen[before]).toBe('[2,null,0,false,[],null]');
	const others = seen.slice(before).filter((one) => /chat\.1|of 1|"id":"1"/.test(one));
	expect(others).toEqual([]);
});

test('a whole list of components is consistent in each render', async () => {
	const echo = world.browser();
	const seen = new Set<string>();
	const view = world.mount(echo, null, () => {
		const states = [1, 2, 3].map(() => useWebSocketStatus().connectionState);
		seen.add([...new Set(states)].join());
		return states[0];
	});
	await until(() => view.now === 'connected');
	echo.disconnect();
	await until(() => view.now === 'disconnected');
	for (const one of seen) expect(one).not.toContain(',');
});

test('hydration starts with the values of the server, and ends with those of the page', async () => {
	const echo = world.browser();
	const first = world.mount(echo, null, () => useNotifications('App.Models.User.1', { load: async () => [{ id: 'a', type: 'T' }] }));
	await until(() => first.now.notifications.length === 1);
	const seen: string[] = [];
	const Page = (): ReactNode => {
		const { isConnected } = useWebSocketStatus();
		const { isSubscribed } = useSubscription(usePrivateChannel('App.Models.User.1'));
		const { unread } = useNotifications('App.Models.User.1');
		const text = JSON.stringify([isConnected, isSubscribed, unread, useEcho() !== null]);
		seen.push(text);
		return createElement('p', null, text);
	};
	const tree = createElement(ClarimProvider, { options: { echo } }, createElement(Page));
	const page = document.createElement('div');
	page.innerHTML = renderToString(tree);
	const mismatches: unknown[] = [];
	const root = hydrateRoot(page, tree, { onRecoverableError: (error) => mismatches.push(error) });
	world.keep(() => flushSync(() => root.unmount()));
	await until(() => page.textContent === '[true,true,1,true]');
	expect(seen.slice(0, 2)).toEqual(['[false,false,0,false]', '[false,false,0,false]']);
	expect(mismatches).toEqual([]);
});

test('a value set with setModel is kept until an event', async () => {
	const view = world.mount(world.browser(), 7 as number | null, (id) => useModel<{ id: number }>('App.Models.Order', id));
	view.now.setModel({ id: 7 });
	await world.occupied('private-App.Models.Order.7');
	expect(view.now.model).toEqual({ id: 7 });
	view.change(null);
	expect(view.now.model).toBeNull();
});

describe('the provider', () => {
	const Status = ({ tell }: { tell: (echo: PusherEcho | null, status: string) => void }): ReactNode => {
		tell(useEcho(), useWebSocketStatus().connectionState);
		return null;
	};

	test.each([false, true])('creates an Echo from its props, and disconnects it when it is unmounted (StrictMode: %s)', async (isStrict) => {
		const echoes = new Set<PusherEcho>();
		const tell = (echo: PusherEcho | null): void => {
			if (echo) echoes.add(echo);
		};
		const http = requestHooks();
		const options = { ...world.options(), http };
		const tree = createElement(ClarimProvider, { options }, createElement(Status, { tell }));
		const { unmount } = world.show(isStrict ? createElement(StrictMode, null, tree) : tree);
		await until(() => echoes.size > 0);
		const [echo] = [...echoes];
		await state(echo!, 'connected');
		expect(http.headers('/orders')).toEqual({ Accept: '*/*', 'X-Socket-ID': echo!.socketId() });
		expect(http.handlers.size).toBe(1);
		unmount();
		await until(() => echo!.connector.pusher.connection.state === 'disconnected');
		expect(http.handlers.size).toBe(0);
		expect(echoes.size).toBe(1);
	});

	test('keeps an Echo connected that was passed in', async () => {
		const echo = world.browser();
		await state(echo, 'connected');
		const make = vi.fn(() => echo);
		const { unmount } = world.show(createElement(ClarimProvider, { options: { echo: make } }, createElement(Status, { tell: () => {} })));
		expect(make).toHaveBeenCalledOnce();
		unmount();
		await Promise.resolve();
		expect(echo.connector.pusher.connection.state).toBe('connected');
	});

	test.runIf('Activity' in React)('disconnects while it is hidden, and connects again', async () => {
		const { Activity } = React as unknown as { Activity: FunctionComponent<{ mode: string; children: ReactNode }> };
		let echo: PusherEcho | null = null;
		const Orders = (): ReactNode => {
			echo = useEcho();
			useChannel('orders');
			return null;
		};
		const http = requestHooks();
		const options = { ...world.options(), http };
		const page = (mode: string): ReactNode => createElement(Activity, {
			mode, children: createElement(ClarimProvider, { options }, createElement(Orders)),
		});
		const { render } = world.show(page('visible'));
		await world.occupied('orders');
		render(page('hidden'));
		await world.occupied();
		await state(echo!, 'disconnected');
		expect(http.handlers.size).toBe(0);
		render(page('visible'));
		await world.occupied('orders');
		await state(echo!, 'connected');
		expect(http.handlers.size).toBe(1);
	});

	test('may be missing: the hooks use the Echo of Laravel\'s bootstrap.js', async () => {
		const echo = world.browser();
		vi.stubGlobal('Echo', echo);
		const Orders = (): ReactNode => {
			useChannel('orders');
			return null;
		};
		world.show(createElement(Orders));
		await world.occupied('orders');
	});

	test('may have an Echo that does nothing', async () => {
		const { default: Echo } = await import('laravel-echo');
		const echo = new Echo({ broadcaster: 'null' });
		const Everything = (): ReactNode => {
			const channel = usePrivateChannel('orders', { '.a': () => {} }, { onMissed: () => {} });
			useSubscription(channel).retry();
			useUser();
			useWebSocketStatus();
			return null;
		};
		world.show(createElement(ClarimProvider, { options: { echo } }, createElement(Everything))).unmount();
	});
});

test('mounting and unmounting leaves nothing behind', async () => {
	const echo = world.browser({ id: 1, info: { name: 'Ana' } });
	await state(echo, 'connected');
	const signedIn = world.mount(echo, null, () => useUser());
	await until(() => signedIn.now.isSignedIn);
	signedIn.unmount();
	const before = boundHandlers(echo);
	for (let round = 0; round < 100; round += 1) {
		const view = world.mount(echo, 'orders.1', (name) => {
			useChannel(name, { OrderShipped: () => {} });
			useEncryptedChannel(name, { OrderShipped: () => {} });
			const channel = usePrivateChannel(name, { OrderShipped: () => {} });
			usePresenceChannel(name, { here: () => {}, events: { OrderShipped: () => {} } });
			useSubscription(channel, () => {});
			useWhisper(channel, 'typing');
			useNotifications('App.Models.User.1', { load: async () => [], onNotification: () => {} });
			useModel('App.Models.Order', 1, { events: { Updated: () => {} } });
			useUser({ events: { OrderShipped: () => {} }, online: () => {} });
			useWebSocketStatus();
		}, round % 2 === 0);
		if (round === 0) expect(boundHandlers(echo)).toBeGreaterThan(before + 20);
		if (round % 3 === 0) view.change('orders.2');
		if (round % 10 === 0) await Promise.resolve();
		view.unmount();
	}
	// Pending subscriptions are cancelled after they have been accepted.
	await until(() => echo.connector.pusher.allChannels().length === 0, { timeout: 15_000 });
	expect(boundHandlers(echo)).toBe(before);
	expect(echo.connector.channels).toEqual({});
});

test('an unmounted component gets nothing, not even the event that is being delivered', async () => {
	const [echo, heard] = [world.browser(), [] as string[]];
	const second = { unmount: () => {} };
	world.mount(echo, null, () => useChannel('orders', {
		'.shipped': () => {
			heard.push('first');
			second.unmount();
		},
	}));
	second.unmount = world.mount(echo, null, () => useChannel('orders', { '.shipped': () => heard.push('second') })).unmount;
	await world.occupied('orders');
	await world.sdk.trigger('orders', 'shipped', {});
	await world.sdk.trigger('orders', 'shipped', {});
	await until(() => heard.length >= 2);
	expect(heard).toEqual(['first', 'first']);
});
