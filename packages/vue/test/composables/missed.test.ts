import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { startServer, type Server } from '../../../js/test/server.js';
import {
	createEcho, useChannel, useEncryptedChannel, useModel, useNotifications, usePresenceChannel, usePrivateChannel,
	type Gap, type PusherEcho,
} from '../../src/index.js';
import { startWorld, until, type World } from '../world.js';

let world: World;
beforeAll(async () => { world = await startWorld(); });
afterEach(async () => {
	await world.server.start();
	await world.clear();
});
afterAll(() => world.close());

const all = (gaps: Gap[]) => {
	const options = { onMissed: (gap: Gap) => void gaps.push(gap) };
	return [
		useChannel('orders', {}, options),
		usePrivateChannel('orders', {}, options),
		useEncryptedChannel('orders', {}, options),
		usePresenceChannel('orders', options).channel,
	];
};
const NAMES = ['orders', 'private-orders', 'private-encrypted-orders', 'presence-orders'];

test('without history, onMissed is called after each interruption', async () => {
	const gaps: Gap[] = [];
	const { result, unmount } = world.run(world.browser({ id: 1, info: {} }), () => all(gaps));
	await until(() => result.every(({ value }) => value?.subscription.subscribed));
	expect(gaps).toEqual([]);
	await world.server.kill();
	await world.server.start();
	await until(() => gaps.length === 4);
	expect(gaps.map(({ channel }) => channel).sort()).toEqual([...NAMES].sort());
	expect(gaps.every(({ reason }) => reason === 'no_history')).toBe(true);
	unmount();
}, 60_000);

/** An Echo on a server with history in this process, which tells gaps at will. */
async function withHistory(work: (server: Server, echo: PusherEcho) => Promise<void>): Promise<void> {
	const server = await startServer();
	const echo = createEcho({
		...world.options({ id: 7, info: {} }),
		port: server.port,
		channelAuthorization: {
			transport: 'ajax',
			endpoint: '',
			customHandler: ({ channelName }, callback) => callback(null, {
				auth: '',
				...(channelName.startsWith('presence-') && { channel_data: '{"user_id":"7"}' }),
				...(channelName.includes('encrypted') && { shared_secret: btoa('x'.repeat(32)) }),
			}),
		},
	});
	try {
		await work(server, echo);
	} finally {
		echo.disconnect();
		await server.close();
	}
}

test('with history, onMissed is called for each gap, and not otherwise', async () => {
	await withHistory(async (server, echo) => {
		const gaps: Gap[] = [];
		const heard: number[] = [];
		const { result, unmount } = world.run(echo, () => {
			useChannel('orders', { '.numbered': ({ n }) => heard.push(n) });
			return all(gaps);
		});
		const subscribed = (times: number) => server.subscriptions.length === 4 * times
			&& result.every(({ value }) => value?.subscription.subscribed);
		await until(() => subscribed(1));
		server.cut();
		server.publish('orders', 'numbered', { n: 1 });
		await until(() => subscribed(2) && heard.length === 1);
		expect(gaps).toEqual([]);
		server.forget();
		server.cut();
		await until(() => gaps.length === 4);
		expect(gaps.map(({ channel }) => channel).sort()).toEqual([...NAMES].sort());
		expect(gaps.every(({ reason }) => reason === 'epoch')).toBe(true);
		// Those of an unmounted component are not called.
		unmount();
		const again = world.run(echo, () => useChannel('orders', { '.numbered': ({ n }) => heard.push(n) }));
		await until(() => again.result.value?.subscription.subscribed);
		server.gap('orders', { reason: 'bus' });
		server.publish('orders', 'numbered', { n: 2 });
		await until(() => heard.includes(2));
		expect(gaps.length).toBe(4);
		again.unmount();
	});
});

test('notifications and models load again only for a gap', async () => {
	await withHistory(async (server, echo) => {
		const loads: string[] = [];
		const { result: [{ notifications, channel }], unmount } = world.run(echo, () => [
			useNotifications('App.Models.User.7', {
				event: '.told',
				load: async () => {
					loads.push('notifications');
					return [];
				},
			}),
			useModel<{ id: number }>('App.Models.Order', 7, {
				load: async () => {
					loads.push('model');
					return { id: 7 };
				},
			}),
		] as const);
		await until(() => loads.length === 2);
		server.cut();
		server.publish('private-App.Models.User.7', 'told', { id: 'a', type: 'T' });
		await until(() => notifications.value.length === 1 && server.subscriptions.length === 4);
		await until(() => channel.value?.subscription.subscribed);
		expect(loads.length).toBe(2);
		server.forget();
		server.cut();
		await until(() => loads.length === 4);
		expect(loads.slice(2).sort()).toEqual(['model', 'notifications']);
		unmount();
	});
});

test('a load that failed is repeated after the next subscription', async () => {
	await withHistory(async (server, echo) => {
		const problems = [new Error('503')];
		let loads = 0;
		const { result, unmount } = world.run(echo, () => useNotifications('App.Models.User.7', {
			load: async () => {
				loads += 1;
				const problem = problems.pop();
				if (problem) throw problem;
				return [];
			},
		}));
		await until(() => result.error.value);
		server.cut();
		await until(() => loads === 2 && result.error.value === null);
		unmount();
	});
});
