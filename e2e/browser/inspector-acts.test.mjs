// Actions of the page at /inspector and their effect on real clients, endpoints and nodes.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import WebSocket from 'ws';
import { world } from '../support/clients.mjs';
import { endpoint } from '../support/endpoint.mjs';
import { inbox, once, state } from '../support/events.mjs';
import { startServer } from '../support/server.mjs';
import { startRedis } from '../support/stores.mjs';
import { TOKEN, answer, enter, id, tab, text } from './inspector.mjs';
import { Browser, waitFor } from './support.mjs';

const LIMIT = { timeout: 300_000 };
const EVIL = '<img src=x onerror="document.title=\'taken\'"><script>document.title="taken"</script>';

let hooks;
let w;
let browser;

before(async () => {
	hooks = await endpoint();
	const env = {
		CLARIM_INSPECTOR_TOKEN: TOKEN,
		REVERB_APP_WEBHOOKS: JSON.stringify([{ url: hooks.url, channels: ['hooked'], events: ['channel_occupied'] }]),
	};
	[w, browser] = await Promise.all([world({ env }), Browser.launch()]);
}, LIMIT);

after(async () => {
	await browser?.close();
	await w?.close();
	hooks?.close();
});

afterEach(() => browser.endTest());

const open = (options) => enter(browser, w.server, options);
const rows = (page, list) => page.locator(`#${list} tbody tr`);

/** A client of a user on a presence channel. */
async function joined(user, channel) {
	const client = await w.connected({ user });
	await once(client.subscribe(channel), 'pusher:subscription_succeeded');
	return client;
}

test('a client whose connection is closed reconnects', LIMIT, async () => {
	const page = await open();
	const client = await w.connected();
	const before = client.connection.socket_id;
	await tab(page, 'connections');
	await id(page, 'wanted').fill(before);
	await page.keyboard.press('Enter');
	const close = rows(page, 'connection-list').filter({ hasText: before }).getByRole('button');
	// Without confirmation nothing is closed.
	await close.click();
	assert.match(await text(id(page, 'sure-effect')), /reconnects at once/);
	assert.equal(await answer(page, false), `Close connection ${before}?`);
	const away = once(client.connection, 'state_change', { where: ({ previous }) => previous === 'connected' });
	assert.equal(await Promise.race([away, delay(500)]), undefined);
	await close.click();
	await answer(page, true);
	await away;
	await state(client, 'connected');
	assert.notEqual(client.connection.socket_id, before);
	client.disconnect();
});

test('all tabs of a terminated user stay disconnected, and other users are not affected', LIMIT, async () => {
	const page = await open();
	const tabs = [await joined({ id: 7 }, 'presence-room'), await joined({ id: 7 }, 'presence-room')];
	const other = await joined({ id: 8 }, 'presence-room');
	const room = other.channel('presence-room');
	assert.equal(room.members.count, 2);
	const removed = once(room, 'pusher:member_removed');
	await tab(page, 'connections');
	await id(page, 'user').fill('7');
	await id(page, 'terminate-form').getByRole('button').click();
	assert.equal(await answer(page, true), 'Close all connections of user 7?');
	for (const client of tabs) await state(client, 'disconnected');
	const [member] = await removed;
	assert.equal(member.id, 7);
	await waitFor('the note', async () => (await text(id(page, 'note'))).includes('user 7 were closed'));
	await waitFor('the list without them', async () => await rows(page, 'connection-list').count() === 1);
	// pusher-js would reconnect within a second.
	await delay(1_500);
	assert.deepEqual(tabs.map((client) => client.connection.state), ['disconnected', 'disconnected']);
	const heard = once(room, 'e');
	await w.sdk.trigger('presence-room', 'e', { n: 1 });
	assert.deepEqual((await heard)[0], { n: 1 });
	other.disconnect();
});

test('an event published from the page reaches a client, and invalid JSON is not published', LIMIT, async () => {
	const page = await open();
	const client = await w.connected();
	const channel = client.subscribe('orders');
	await once(channel, 'pusher:subscription_succeeded');
	const heard = inbox();
	channel.bind('paid', heard);
	await tab(page, 'events');
	await id(page, 'event-channel').fill('orders');
	await id(page, 'event-name').fill('paid');
	await id(page, 'event-data').fill('{"total": ');
	await id(page, 'event-form').getByRole('button').click();
	await id(page, 'event-note').filter({ hasText: 'Not valid JSON' }).waitFor();
	await id(page, 'event-data').fill('{"total": 12, "of": "Ana \\"A\\""}');
	await id(page, 'event-form').getByRole('button').click();
	assert.deepEqual(await heard.take(), { total: 12, of: 'Ana "A"' });
	await id(page, 'event-note').filter({ hasText: 'Published.' }).waitFor();
	assert.deepEqual(heard.items, []);
	client.disconnect();
});

test('members of a presence channel are shown, and text of clients is never markup', LIMIT, async () => {
	const page = await open();
	const clients = [];
	for (const user of ['ana', 'rui', 'rui', EVIL]) clients.push(await joined({ id: user }, 'presence-people'));
	const socket = new WebSocket(`${w.server.url.replace('http', 'ws')}/app/${w.server.key}?protocol=7`, { origin: EVIL });
	await new Promise((resolve) => { socket.once('message', resolve); });
	await tab(page, 'channels');
	const row = rows(page, 'channel-list').filter({ hasText: 'presence-people' });
	await waitFor('the counts', async () => /presence-people\s+4\s+3/.test(await text(row)));
	await row.getByRole('link').click();
	await waitFor('the members', async () => (await text(id(page, 'channel-note'))).startsWith('3 members'));
	assert.deepEqual((await id(page, 'members').locator('li').allInnerTexts()).sort(), [EVIL, 'ana', 'rui'].sort());
	await tab(page, 'connections');
	// As a user, and as an origin.
	await waitFor('both', async () => await rows(page, 'connection-list').filter({ hasText: 'onerror' }).count() === 2);
	assert.equal(await page.locator('#inside img, #inside script').count(), 0);
	assert.equal(await page.title(), 'Clarim: inspector');
	// Members who leave disappear.
	clients.pop().disconnect();
	await waitFor('the member to disappear', async () => {
		await tab(page, 'channels');
		await page.goto(`${w.server.url}/inspector#channels`);
		await row.getByRole('link').click();
		return await id(page, 'members').locator('li').count() === 2;
	});
	for (const client of clients) client.disconnect();
	socket.close();
});

test('a failed delivery is shown with its reason, and a sent delivery can be replayed', LIMIT, async () => {
	const page = await open();
	hooks.status = 503;
	const client = await w.connected();
	client.subscribe('hooked.1');
	await tab(page, 'webhooks');
	const row = rows(page, 'deliveries').filter({ hasText: 'channel_occupied hooked.1' });
	const shown = (what) => waitFor(what, async () => {
		await id(page, 'refresh-webhooks').click();
		return (await row.first().locator('td').allInnerTexts()).some((cell) => cell.startsWith(what));
	});
	await shown('pending: HTTP status 503');
	assert.equal(hooks.taken.length, 0);
	hooks.status = 200;
	await shown('sent');
	assert.equal(await row.count(), 1, 'retries are not listed separately');
	const [, url, , , attempts] = await row.locator('td').allInnerTexts();
	assert.equal(url, 'http://127.0.0.1/hooks', 'without the port, which may be a secret');
	assert.ok(Number(attempts) > 1, attempts);
	assert.equal(hooks.taken.length, 1);
	await row.getByRole('button').click();
	await waitFor('the note', async () => (await text(id(page, 'note'))).includes('queued again'));
	await waitFor('the second request', () => hooks.taken.length === 2);
	const events = hooks.taken.map((request) => {
		const webhook = w.sdk.webhook(request);
		assert.ok(webhook.isValid(), 'both signatures are valid');
		return webhook.getEvents();
	});
	assert.deepEqual(events[0], [{ name: 'channel_occupied', channel: 'hooked.1' }]);
	assert.deepEqual(events[1], events[0]);
	await waitFor('both are shown', async () => {
		await id(page, 'refresh-webhooks').click();
		return await row.count() === 2;
	});
	client.disconnect();
});

test('the event log can be filtered by kind and cleared', LIMIT, async () => {
	const page = await open();
	await tab(page, 'events');
	const entries = page.locator('#log .event');
	await id(page, 'stream-note').filter({ hasText: 'shown' }).waitFor();
	const client = await w.connected();
	const socket = client.connection.socket_id;
	await once(client.subscribe('kinds'), 'pusher:subscription_succeeded');
	await w.sdk.trigger('kinds', 'published-event', {});
	client.disconnect();
	const kinds = { published: 'published-event', received: 'pusher:subscribe', connected: socket, closed: socket };
	for (const [kind, needle] of Object.entries(kinds)) {
		await id(page, 'kind').selectOption(kind);
		await entries.filter({ hasText: needle }).first().waitFor();
		const word = kind[0].toUpperCase() + kind.slice(1);
		const shown = kind === 'received' ? 'From clients' : word;
		assert.deepEqual([...new Set(await page.locator('#log .kind').allInnerTexts())], [shown]);
	}
	await id(page, 'kind').selectOption('');
	assert.ok(await entries.count() >= 4);
	await id(page, 'clear').click();
	assert.equal(await entries.count(), 0);
});

test('the nodes of a cluster are shown, except for dead ones', LIMIT, async () => {
	const redis = await startRedis();
	const nodes = [];
	try {
		const { port } = new URL(redis.url);
		const env = {
			CLARIM_INSPECTOR_TOKEN: TOKEN, REVERB_SCALING_ENABLED: 'true', REDIS_PORT: port, CLARIM_SCALING_LEASE: '2',
		};
		for (let n = 0; n < 2; n += 1) nodes.push(await startServer({ env }));
		const names = async (page) => {
			const cells = await rows(page, 'nodes').evaluateAll((all) => all.map((row) => [...row.cells].map((cell) => cell.textContent)));
			return cells.length === 2 && cells;
		};
		const seen = [];
		const pages = [];
		for (const node of nodes) {
			const page = await enter(browser, node);
			pages.push(page);
			seen.push(await waitFor('two nodes', () => names(page)));
			assert.equal(await id(page, 'alone').isVisible(), false);
		}
		const [[[a, me, bus], [b, other]], [[itsOwn], [itsOther]]] = seen;
		assert.deepEqual([me, other], ['this node', 'another node']);
		assert.match(bus, /^Bus connected, [\d.,]+ ms$/);
		assert.deepEqual([itsOwn, itsOther], [b, a], 'each node shows the other one');
		await nodes[1].kill();
		browser.expect(/ERR_CONNECTION_(REFUSED|RESET)|ERR_EMPTY_RESPONSE/);
		await waitFor('one node', async () => await rows(pages[0], 'nodes').count() === 1);
		await pages[1].locator('#state.bad').waitFor();
	} finally {
		for (const node of nodes) await node.dispose();
		await redis.stop();
	}
});

/**
 * Sends the requests of a page on its events tab, as often as a page, until `isOver`. Returns their number.
 */
async function watch(end) {
	const ask = async (path) => {
		const answer = await fetch(`${w.server.url}/inspector/api/${path}`, { headers: { authorization: `Bearer ${TOKEN}` } });
		assert.equal(answer.status, 200, path);
		return answer.json();
	};
	let next = '';
	let answers = 0;
	while (!end.isOver) {
		await ask('overview');
		({ next } = await ask(`stream?after=${next}`));
		answers += 1;
		await delay(1_000);
	}
	return answers;
}

test('fifty watchers of the event log delay no delivery', { timeout: 300_000 }, async () => {
	// Only four of them are pages, since drawing fifty would keep the cores busy and distort the measurement.
	const context = await browser.context();
	await context.addInitScript((token) => {
		// The initial empty page has no storage.
		if (location.protocol === 'http:') sessionStorage.setItem('clarim-inspector-token', token);
	}, TOKEN);
	const pages = await Promise.all(Array.from({ length: 4 }, async () => {
		const page = await context.newPage();
		await page.goto(`${w.server.url}/inspector`);
		await tab(page, 'events');
		return page;
	}));
	let asked = 0;
	context.on('request', (request) => { asked += Number(request.url().includes('/api/stream')); });
	const end = { isOver: false };
	const watching = Promise.all(Array.from({ length: 46 }, () => watch(end)));
	// Its result is awaited at the end only.
	watching.catch(() => undefined);
	const client = await w.connected();
	const channel = client.subscribe('watched');
	await once(channel, 'pusher:subscription_succeeded');
	const heard = inbox();
	channel.bind('e', heard);
	let n = 0;
	const median = async () => {
		const times = [];
		for (let round = 0; round < 100; round += 1, n += 1) {
			const begun = performance.now();
			await w.sdk.trigger('watched', 'e', { n });
			assert.deepEqual(await heard.take(), { n });
			times.push(performance.now() - begun);
			await delay(20);
		}
		return times.toSorted((a, b) => a - b)[50];
	};
	const watched = await median();
	end.isOver = true;
	for (const answers of await watching) assert.ok(answers > 1, `a watcher got ${answers} responses`);
	assert.ok(asked > 4, `the pages sent only ${asked} requests`);
	for (const page of pages) await page.locator('#log .event').filter({ hasText: '{ "n": 99 }' }).first().waitFor();
	await context.close();
	const quiet = await median();
	// The pages and this test use the cores too.
	assert.ok(watched < 5 * quiet + 100, `the median is ${watched} ms, and ${quiet} ms without watchers`);
	client.disconnect();
});
