import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { recover } from '../src/index.js';
import { startWorld, until, type World } from './world.js';

/** A tab's `sessionStorage`. */
class Tab {
	readonly items = new Map<string, string>();
	getItem = vi.fn((key: string) => this.items.get(key) ?? null);
	setItem = vi.fn((key: string, value: string) => void this.items.set(key, value));
}

let world: World;
let tab: Tab;
let page: EventTarget;
beforeEach(async () => {
	world = await startWorld();
	tab = new Tab();
	page = new EventTarget();
	vi.stubGlobal('sessionStorage', tab);
	vi.stubGlobal('addEventListener', page.addEventListener.bind(page));
});
afterEach(() => {
	vi.unstubAllGlobals();
	return world.close();
});

type Client = ReturnType<World['client']>;

const leave = ({ pusher }: Client): void => {
	page.dispatchEvent(new Event('pagehide'));
	pusher.disconnect();
};

/** A page that has received one event and is gone. */
async function firstPage(storage: boolean | string = true): Promise<string> {
	const client = world.client({ storage });
	const { channel, heard } = client.subscribe('orders');
	await until(() => channel.subscribed);
	world.publish('orders', 1);
	await until(() => heard.length === 1);
	leave(client);
	return client.pusher.connection.socket_id;
}

test.each([true, 'my-positions'])('a reload resumes, with storage: %s', async (storage) => {
	const id = await firstPage(storage);
	expect([...tab.items.keys()]).toEqual([storage === true ? 'clarim:key' : storage]);
	world.publish('orders', 2);
	world.publish('orders', 3, { except: id });
	const { gaps, subscribe } = world.client({ storage });
	const { channel, heard } = subscribe('orders');
	await until(() => channel.subscribed);
	world.publish('orders', 4);
	await until(() => heard.includes(4));
	expect(heard).toEqual([2, 4]);
	expect(gaps).toEqual([]);
});

test('storage can be added to a client that has the plug-in', async () => {
	await firstPage();
	world.publish('orders', 2);
	const { pusher, subscribe } = world.client();
	recover(pusher, { storage: true });
	const { heard } = subscribe('orders');
	await until(() => heard.length === 1);
});

test('two reloads in a row, of which the first subscribes to nothing', async () => {
	await firstPage();
	leave(world.client({ storage: true }));
	world.publish('orders', 2);
	const { heard } = world.client({ storage: true }).subscribe('orders');
	await until(() => heard.length === 1);
	expect(heard).toEqual([2]);
});

test('a hidden page keeps its positions, because it may be discarded', async () => {
	const { channel } = world.client({ storage: true }).subscribe('orders');
	await until(() => channel.subscribed);
	page.dispatchEvent(new Event('visibilitychange'));
	expect(tab.items.size).toBe(1);
});

test('a reload starts afresh without the option, and after the channel was left', async () => {
	const without = world.client();
	const { channel } = without.subscribe('orders');
	await until(() => channel.subscribed);
	leave(without);
	expect(tab.items.size).toBe(0);

	const client = world.client({ storage: true });
	const second = client.subscribe('orders');
	await until(() => second.channel.subscribed);
	client.pusher.unsubscribe('orders');
	leave(client);
	expect(tab.items.get('clarim:key')).toBe('[]');
});

test('keeps at most 100 channels, the most recent', async () => {
	const client = world.client({ storage: true });
	for (let n = 0; n < 120; n += 1) client.recovery.since(`orders.${n}`, { epoch: 'e', offset: n });
	leave(client);
	const stored = JSON.parse(tab.items.get('clarim:key')!) as [string, object][];
	expect(stored.length).toBe(100);
	expect(stored.at(-1)).toEqual(['orders.119', { epoch: 'e', offset: 119 }]);
});

test.each(['{"a":1}', 'null', '[null, 7, ["orders"], ["orders", null]]', '[[', ''])('a reload survives what is stored: %s', async (text) => {
	tab.items.set('clarim:key', text);
	const { channel } = world.client({ storage: true }).subscribe('orders');
	await until(() => channel.subscribed);
	expect(world.server.subscriptions[0]!.since).toBeUndefined();
});

test('goes on without a storage that is forbidden, full or missing', async () => {
	const forbidden = (): never => {
		throw new DOMException('denied', 'SecurityError');
	};
	const makers = [
		() => Object.defineProperty(globalThis, 'sessionStorage', { get: forbidden, configurable: true }),
		() => vi.stubGlobal('sessionStorage', { getItem: () => null, setItem: forbidden }),
		() => vi.stubGlobal('sessionStorage', undefined),
		() => vi.stubGlobal('addEventListener', undefined),
	];
	for (const make of makers) {
		make();
		const client = world.client({ storage: true });
		const { channel, heard } = client.subscribe('orders');
		await until(() => channel.subscribed);
		world.server.cut();
		world.publish('orders', 1);
		await until(() => heard.length === 1);
		leave(client);
	}
});
