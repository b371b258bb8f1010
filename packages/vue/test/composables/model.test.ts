import { ref } from 'vue';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { useModel } from '../../src/index.js';
import { startWorld, until, type World } from '../world.js';

let world: World;
beforeAll(async () => { world = await startWorld(); });
afterEach(() => world.clear());
afterAll(() => world.close());

interface Order { id: number; status: string }

const broadcast = (event: string, model: Order) =>
	world.sdk.trigger(`private-App.Models.Order.${model.id}`, event, { model, connection: null, queue: null });

test('follows the record: loaded, updated, deleted', async () => {
	const told: string[] = [];
	const { result: { model, channel } } = world.run(world.browser(), () => useModel<Order>('App\\Models\\Order', 7, {
		load: async (id) => ({ id: Number(id), status: 'paid' }),
		events: {
			Updated: ({ status }) => told.push(`updated: ${status}`),
			Deleted: ({ status }) => told.push(`deleted: ${status}`),
		},
	}));
	await until(() => model.value);
	expect(channel.value?.name).toBe('private-App.Models.Order.7');
	expect(model.value).toEqual({ id: 7, status: 'paid' });
	await broadcast('OrderUpdated', { id: 7, status: 'shipped' });
	await until(() => model.value?.status === 'shipped');
	await broadcast('OrderDeleted', { id: 7, status: 'shipped' });
	await until(() => model.value === null);
	expect(told).toEqual(['updated: shipped', 'deleted: shipped']);
});

test('discards a response that is older than an event', async () => {
	let answer: ((order: Order) => void) | undefined;
	const { result: { model } } = world.run(world.browser(), () => useModel<Order>('App.Models.Order', 7, {
		load: () => new Promise((resolve) => { answer = resolve; }),
	}));
	await until(() => answer);
	await broadcast('OrderUpdated', { id: 7, status: 'shipped' });
	await until(() => model.value?.status === 'shipped');
	answer!({ id: 7, status: 'paid' });
	// All continuations of the response have run by then.
	await new Promise((resolve) => { setTimeout(resolve); });
	expect(model.value?.status).toBe('shipped');
});

test('loads another record for another id; a value set after the id stays', async () => {
	const id = ref<number | null>(7);
	const { result: { model } } = world.run(world.browser(), () => useModel<Order>('App.Models.Order', id));
	model.value = { id: 7, status: 'paid' };
	await world.occupied('private-App.Models.Order.7');
	id.value = 8;
	expect(model.value).toBeNull();
	model.value = { id: 8, status: 'new' };
	await world.occupied('private-App.Models.Order.8');
	expect(model.value).toEqual({ id: 8, status: 'new' });
	id.value = null;
	await world.occupied();
	expect(model.value).toBeNull();
});

test('reloads after a lost connection', async () => {
	let status = 'paid';
	const echo = world.browser();
	const { result: { model } } = world.run(echo, () => useModel<Order>('App.Models.Order', 7, {
		load: async () => ({ id: 7, status }),
	}));
	await until(() => model.value?.status === 'paid');
	echo.connector.pusher.disconnect();
	status = 'shipped';
	echo.connector.pusher.connect();
	await until(() => model.value?.status === 'shipped');
});
