import { ref } from 'vue';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { usePresenceChannel, usePrivateChannel, useSubscription, useWhisper, type WhisperOptions } from '../../src/index.js';
import { startWorld, until, type World } from '../world.js';

let world: World;
beforeAll(async () => { world = await startWorld(); });
afterEach(() => world.clear());
afterAll(() => world.close());

interface Typing { name: string }

const onPrivate = (options?: WhisperOptions<Typing>) => () => {
	const channel = usePrivateChannel('chat.1');
	return { ...useWhisper<Typing>(channel, 'typing', options), ...useSubscription(channel) };
};

const onPresence = (options?: WhisperOptions<{ x: number }>) => () => {
	const { channel, users } = usePresenceChannel('chat.1');
	return { ...useWhisper<{ x: number }>(channel, 'cursor', options), users };
};

async function twoOnPrivate(options?: WhisperOptions<Typing>) {
	const one = () => world.run(world.browser(), onPrivate(options));
	const [a, b] = [one(), one()];
	await until(() => a.result.isSubscribed.value && b.result.isSubscribed.value);
	return [a, b] as const;
}

async function twoOnPresence(options?: WhisperOptions<{ x: number }>) {
	const people = [1, 2].map((id) => world.run(world.browser({ id, info: {} }), onPresence(options)));
	const [a, b] = people as [typeof people[0] & object, typeof people[0] & object];
	await until(() => a.result.users.value.length === 2 && b.result.users.value.length === 2);
	return [a, b] as const;
}

test('the others see a whisper until it expires', async () => {
	const [a, b] = await twoOnPrivate({ throttle: 0, expiry: 150 });
	expect(a.result.whisper({ name: 'Ana' })).toBe(true);
	await until(() => b.result.recent.value.length === 1);
	expect(b.result.recent.value).toEqual([{ name: 'Ana' }]);
	expect(a.result.recent.value).toEqual([]);
	await until(() => b.result.recent.value.length === 0);
});

test('a user who keeps typing is listed once and stays', async () => {
	const [a, b] = await twoOnPrivate({ throttle: 0, expiry: 1000 });
	a.result.whisper({ name: 'Ana' });
	await until(() => b.result.recent.value.length === 1);
	const lengths = new Set<number>();
	const end = Date.now() + 1500;
	await until(() => {
		a.result.whisper({ name: 'Ana' });
		lengths.add(b.result.recent.value.length);
		return Date.now() > end;
	}, { every: 50 });
	expect([...lengths]).toEqual([1]);
	a.result.whisper({ name: 'Carla' });
	await until(() => b.result.recent.value.length === 2);
	b.result.forget(({ name }) => name === 'Ana');
	expect(b.result.recent.value).toEqual([{ name: 'Carla' }]);
});

test('is throttled', async () => {
	const heard: string[] = [];
	const [a] = await twoOnPrivate({ throttle: 200, onWhisper: ({ name }) => heard.push(name) });
	const sent = ['1', '2', '3'].map((name) => a.result.whisper({ name }));
	expect(sent).toEqual([true, false, false]);
	await until(() => a.result.whisper({ name: '4' }));
	await until(() => heard.length === 2);
	expect(heard).toEqual(['1', '4']);
});

test('sends the last throttled whisper with trailing', async () => {
	const [a, b] = await twoOnPresence({ throttle: 100, trailing: true, expiry: 0 });
	for (const x of [1, 2, 3]) a.result.whisper({ x });
	await until(() => b.result.recent.value[0]?.x === 3);
});

test('on a presence channel the server names the sender, and a user who leaves is removed', async () => {
	const heard: unknown[] = [];
	const [a, b] = await twoOnPresence({ throttle: 0, expiry: 0, onWhisper: (_, id) => heard.push(id) });
	a.result.whisper({ x: 1 });
	a.result.whisper({ x: 2 });
	await until(() => heard.length === 2);
	expect(heard).toEqual(['1', '1']);
	expect(b.result.recent.value).toEqual([{ x: 2 }]);
	a.unmount();
	await until(() => b.result.recent.value.length === 0);
});

test('sends nothing without a subscription', async () => {
	const name = ref<string | null>(null);
	const { result } = world.run(world.browser(), () => {
		const channel = usePrivateChannel(name);
		return { ...useWhisper<Typing>(channel, 'typing'), ...useSubscription(channel) };
	});
	expect(result.whisper({ name: 'Ana' })).toBe(false);
	name.value = 'chat.1';
	expect(result.whisper({ name: 'Ana' })).toBe(false);
	await until(() => result.isSubscribed.value);
	// Unsent whispers don't count for the throttle.
	expect(result.whisper({ name: 'Ana' })).toBe(true);
});
