import { nextTick, ref } from 'vue';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { usePresenceChannel } from '../../src/index.js';
import { startWorld, until, type World } from '../world.js';

let world: World;
beforeAll(async () => { world = await startWorld(); });
afterEach(() => world.clear());
afterAll(() => world.close());

interface Person { id: number; name: string }

const ana = () => world.browser({ id: 1, info: { id: 1, name: 'Ana' } });
const bia = () => world.browser({ id: 2, info: { id: 2, name: 'Bia' } });

const names = (users: readonly Person[]) => users.map(({ name }) => name).sort().join();
const shows = (users: { value: readonly Person[] }, expected: string) =>
	until(() => names(users.value) === expected, { what: `the users ${expected}` });

test('maintains the member list and reports joins and leaves', async () => {
	const told: string[] = [];
	const { result: { users, channel } } = world.run(ana(), () => usePresenceChannel<Person>('chat.1', {
		here: (all) => told.push(`here ${names(all)}`),
		joining: ({ name }) => told.push(`joining ${name}`),
		leaving: ({ name }) => told.push(`leaving ${name}`),
		events: { MessageSent: ({ text }) => told.push(text) },
	}));
	await shows(users, 'Ana');
	expect(channel.value?.name).toBe('presence-chat.1');
	const other = world.run(bia(), () => usePresenceChannel<Person>('chat.1'));
	await shows(users, 'Ana,Bia');
	await shows(other.result.users, 'Ana,Bia');
	await world.sdk.trigger('presence-chat.1', 'App\\Events\\MessageSent', { text: 'Oi' });
	await until(() => told.includes('Oi'));
	other.unmount();
	await shows(users, 'Ana');
	expect(told).toEqual(['here Ana', 'joining Bia', 'Oi', 'leaving Bia']);
	expect(other.result.users.value).toEqual([]);
});

test('gives a later component the members of a subscribed channel', async () => {
	const echo = ana();
	const first = world.run(echo, () => usePresenceChannel<Person>('chat.1'));
	await shows(first.result.users, 'Ana');
	const here: string[] = [];
	const later = world.run(echo, () => usePresenceChannel<Person>('chat.1', { here: (all) => here.push(names(all)) }));
	expect(names(later.result.users.value)).toBe('Ana');
	expect(here).toEqual(['Ana']);
});

test('has another list for another name', async () => {
	world.run(bia(), () => usePresenceChannel<Person>('chat.2'));
	const room = ref(1);
	const { result: { users } } = world.run(ana(), () => usePresenceChannel<Person>(() => `chat.${room.value}`));
	await shows(users, 'Ana');
	room.value = 2;
	await nextTick();
	expect(users.value).toEqual([]);
	await shows(users, 'Ana,Bia');
	await world.occupied('presence-chat.2');
});

test('works without an id in the member information', async () => {
	const { result: { users } } = world.run(ana(), () => usePresenceChannel<Person>('chat.1'));
	const [first, second] = [3, 4].map((id) => world.run(
		world.browser({ id, info: { name: 'Zoe' } }), () => usePresenceChannel<Person>('chat.1'),
	));
	await shows(users, 'Ana,Zoe,Zoe');
	first!.unmount();
	await shows(users, 'Ana,Zoe');
	second!.unmount();
	await shows(users, 'Ana');

	world.run(world.browser({ id: 5 }), () => usePresenceChannel('chat.1'));
	await until(() => users.value.length === 2);
	expect(users.value.at(-1)).toEqual({ id: '5' });
});

test('removes initial members by numeric and string ids', async () => {
	const other = world.run(bia(), () => usePresenceChannel<Person>('chat.1'));
	await shows(other.result.users, 'Bia');
	const gone: string[] = [];
	const { result: { users } } = world.run(ana(), () => usePresenceChannel<Person>('chat.1', {
		leaving: ({ name }) => gone.push(name),
	}));
	await shows(users, 'Ana,Bia');
	other.unmount();
	await shows(users, 'Ana');
	expect(gone).toEqual(['Bia']);
});

test('replaces the list after a lost connection', async () => {
	const echo = ana();
	const { result: { users } } = world.run(echo, () => usePresenceChannel<Person>('chat.1'));
	const other = world.run(bia(), () => usePresenceChannel<Person>('chat.1'));
	await shows(users, 'Ana,Bia');
	echo.connector.pusher.disconnect();
	await shows(other.result.users, 'Bia');
	other.unmount();
	echo.connector.pusher.connect();
	await shows(users, 'Ana');
});
