// A channel's panel on the page at /inspector: members, live events, publishing, and responses that come late.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { world } from '../support/clients.mjs';
import { inbox, once } from '../support/events.mjs';
import { accessible } from './demo/demo.mjs';
import { TOKEN, enter, id, tab, text } from './inspector.mjs';
import { artefacts, Browser, waitFor } from './support.mjs';

const LIMIT = { timeout: 300_000 };

let w;
let browser;

before(async () => {
	const env = { CLARIM_INSPECTOR_TOKEN: TOKEN, CLARIM_APP_HISTORY: 'kept-*:200:10m' };
	[w, browser] = await Promise.all([world({ env }), Browser.launch()]);
}, LIMIT);

after(async () => {
	await browser?.close();
	await w?.close();
});

afterEach(() => browser.endTest());

const open = (options) => enter(browser, w.server, options);
const show = (page, place) => page.goto(`${w.server.url}/inspector#${place}`);
const title = (page, name) => waitFor(name, async () => await text(id(page, 'channel-title')) === name);

/**
 * Holds the responses to requests that `isHeld` chooses. Resolves with a function that lets them through and
 * waits until the page has had them.
 */
async function hold(page, isHeld) {
	let release;
	const released = new Promise((resolve) => { release = resolve; });
	const held = [];
	await page.route(isHeld, (route) => {
		const answered = (async () => {
			const response = await route.fetch();
			await released;
			await route.fulfill({ response });
		})();
		held.push(answered);
	});
	const letThrough = async () => {
		release();
		await Promise.all(held);
		// The page draws a response at once.
		await page.evaluate(() => new Promise((resolve) => { setTimeout(resolve, 100); }));
		await page.unrouteAll();
	};
	return { held, letThrough };
}

test('a response that comes late does not replace the channel that was opened after it', LIMIT, async () => {
	const page = await open();
	await w.sdk.trigger('kept-a', 'event-of-a', {});
	await w.sdk.trigger('kept-b', 'event-of-b', {});
	const { held, letThrough } = await hold(page, /channels\/kept-a\//);
	await show(page, 'channels?channel=kept-a');
	await waitFor('the request', () => held.length);
	await show(page, 'channels?channel=kept-b');
	await title(page, 'kept-b');
	await letThrough();
	assert.equal(await text(id(page, 'channel-title')), 'kept-b');
	assert.match(await text(id(page, 'channel-history')), /event-of-b/);
	assert.doesNotMatch(await text(id(page, 'channel-history')), /event-of-a/);

	// Nor does it open a channel again that was closed.
	const second = await hold(page, /channels\/kept-a\//);
	await show(page, 'channels?channel=kept-a');
	await waitFor('the request', () => second.held.length);
	await show(page, 'channels');
	await id(page, 'channel').waitFor({ state: 'hidden' });
	await second.letThrough();
	assert.ok(await id(page, 'channel').isHidden());
});

test('older events that come late do not go into another channel', LIMIT, async () => {
	const page = await open();
	for (let n = 0; n < 60; n += 1) await w.sdk.trigger('kept-long', `long-${n}`, {});
	await w.sdk.trigger('kept-short', 'short', {});
	await show(page, 'channels?channel=kept-long');
	await title(page, 'kept-long');
	const { held, letThrough } = await hold(page, /since=/);
	await page.getByRole('button', { name: 'Older events' }).click();
	await waitFor('the request', () => held.length);
	await show(page, 'channels?channel=kept-short');
	await title(page, 'kept-short');
	await letThrough();
	assert.equal(await page.locator('#channel-history .event').count(), 1);
});

test('a late list of webhooks does not replace a newer one', LIMIT, async () => {
	const page = await open();
	let asked = 0;
	let first;
	const delivery = { id: 1, at: 0, url: 'http://x', events: [], attempts: 1, problem: null };
	const list = (...deliveries) => ({ json: { deliveries } });
	const oldest = { ...delivery, state: 'sent', url: 'http://late' };
	const newer = [
		{ ...delivery, state: 'sent', url: 'http://sent' },
		{ ...delivery, state: 'trying', url: 'http://waiting' },
		{ ...delivery, state: 'trying', problem: 'HTTP status 503', url: 'http://retried' },
		{ ...delivery, state: 'failed', problem: 'HTTP status 500', url: 'http://failed-later' },
		{ ...delivery, state: 'failed', problem: 'HTTP status 500', url: 'http://failed-before' },
	];
	await page.route(/api\/deliveries/, (route) => {
		asked += 1;
		if (asked === 1) first = route;
		else return route.fulfill(list(...newer));
	});
	await tab(page, 'webhooks');
	await waitFor('the request', () => first);
	await id(page, 'refresh-webhooks').click();
	const urls = () => page.locator('#deliveries tbody td:nth-child(2)').allInnerTexts();
	await waitFor('the newer list', async () => (await urls()).length === newer.length);
	await first.fulfill(list(oldest));
	await page.evaluate(() => new Promise((resolve) => { setTimeout(resolve, 100); }));
	// Failures first, and the newest first among equals.
	const expected = ['failed-later', 'failed-before', 'retried', 'sent', 'waiting'];
	assert.deepEqual(await urls(), expected.map((name) => `http://${name}`));
	await page.screenshot({ path: join(artefacts, 'inspector-webhooks.png'), fullPage: true });
});

test('an open channel shows its events as they come, and publishes', LIMIT, async () => {
	const page = await open();
	const client = await w.connected();
	const channel = client.subscribe('kept-live');
	await once(channel, 'pusher:subscription_succeeded');
	const heard = inbox();
	channel.bind('greeting', heard);
	await show(page, 'channels?channel=kept-live');
	await title(page, 'kept-live');
	await page.getByText('No events since this page was opened.').waitFor();
	const entries = page.locator('#channel-log .event');
	await id(page, 'publish-name').fill('greeting');
	await id(page, 'publish-data').fill('{"hello": ');
	await id(page, 'publish-form').getByRole('button').click();
	await id(page, 'publish-note').filter({ hasText: 'Not valid JSON' }).waitFor();
	await id(page, 'publish-data').fill('{"hello": "all"}');
	await id(page, 'publish-form').getByRole('button').click();
	assert.deepEqual(await heard.take(), { hello: 'all' });
	await id(page, 'publish-note').filter({ hasText: 'Published.' }).waitFor();
	await entries.filter({ hasText: '{ "hello": "all" }' }).waitFor();

	// An entry that is open stays open when others come, and those of other channels don't.
	await entries.first().locator('summary').click();
	await w.sdk.trigger('kept-other', 'elsewhere', {});
	await w.sdk.trigger('kept-live', 'second', { n: 2 });
	await entries.filter({ hasText: 'second' }).waitFor();
	assert.equal(await page.locator('#channel-log details[open]').count(), 1);
	assert.doesNotMatch(await text(id(page, 'channel-log')), /elsewhere/);
	assert.match(await text(entries.first()), /second/, 'the newest first');
	await accessible(page, 'an open channel');
	await page.screenshot({ path: join(artefacts, 'inspector-channel.png'), fullPage: true });
	await page.setViewportSize({ width: 360, height: 740 });
	const excess = await page.evaluate(() =>
		document.documentElement.scrollWidth - document.documentElement.clientWidth);
	assert.equal(excess, 0, 'nothing to scroll sideways');
	await page.screenshot({ path: join(artefacts, 'inspector-channel-phone.png') });

	await show(page, 'channels?channel=kept-other');
	await title(page, 'kept-other');
	assert.equal(await text(id(page, 'publish-note')), '');
	await entries.filter({ hasText: 'elsewhere' }).waitFor();
	assert.equal(await entries.count(), 1);
	client.disconnect();
});

test('all members of a channel can be listed, page by page', LIMIT, async () => {
	const page = await open({ locale: 'pt-BR' });
	const names = Array.from({ length: 230 }, (_, n) => `user-${String(n).padStart(3, '0')}`);
	const clients = await Promise.all(names.map(async (user) => {
		const client = await w.connected({ user: { id: user } });
		await once(client.subscribe('presence-crowd'), 'pusher:subscription_succeeded');
		return client;
	}));
	await show(page, 'channels?channel=presence-crowd');
	await title(page, 'presence-crowd');
	assert.equal(await text(id(page, 'channel-note')), '230 membros');
	const more = page.getByRole('button', { name: 'Mais membros' });
	for (const count of [100, 200]) {
		await waitFor(`${count} members`, async () => await id(page, 'members').locator('li').count() === count + 1);
		await more.click();
	}
	await waitFor('all members', async () => await more.count() === 0);
	assert.deepEqual(await id(page, 'members').locator('li').allInnerTexts(), names);
	for (const client of clients) client.disconnect();
});

test('connections are filtered by field and sorted, and the address keeps both', LIMIT, async () => {
	const page = await open();
	const clients = [];
	for (let n = 0; n < 3; n += 1) {
		const client = await w.connected({ user: { id: `walker-${n}` } });
		await once(client.subscribe('presence-walk.1'), 'pusher:subscription_succeeded');
		for (let more = 0; more < n; more += 1) {
			await once(client.subscribe(`walk-${n}-${more}`), 'pusher:subscription_succeeded');
		}
		clients.push(client);
	}
	const cells = (column) => page.locator(`#connection-list tbody td:nth-child(${column})`).allInnerTexts();
	const users = async () => (await cells(8)).join();
	await tab(page, 'connections');
	const search = async (filter) => {
		await id(page, 'wanted').fill(filter);
		await page.keyboard.press('Enter');
	};
	await search('user:walker-1');
	await waitFor('one user', async () => await users() === 'walker-1');
	assert.deepEqual(await cells(7), ['ws']);
	// The whole name with the field, a part of it without.
	await search('channel:presence-walk');
	await page.getByText('No match on this node.').waitFor();
	await search('walker');
	await waitFor('all', async () => (await cells(8)).length === 3);
	const sorted = async (count, direction, expected) => {
		await page.locator('#connection-list').getByRole('link', { name: 'Subscriptions' }).click();
		await waitFor(direction, async () => await page.locator(`#connection-list th[aria-sort=${direction}]`).count() === count);
		await waitFor(expected, async () => await users() === expected);
	};
	await sorted(1, 'descending', 'walker-2,walker-1,walker-0');
	await page.getByText('The first 100 in this order.').waitFor();
	await accessible(page, 'sorted connections');
	await page.screenshot({ path: join(artefacts, 'inspector-sorted.png'), fullPage: true });
	await sorted(1, 'ascending', 'walker-0,walker-1,walker-2');
	assert.equal(new URL(page.url()).hash, '#connections?q=walker&sort=subscriptions');
	await page.reload();
	await waitFor('the same after a reload', async () => await users() === 'walker-0,walker-1,walker-2');

	// From a channel to its connections: those of this channel only.
	await show(page, 'channels?q=walk');
	await page.locator('#channel-list').getByRole('link', { name: 'Subscriptions' }).click();
	const names = () => page.locator('#channel-list tbody td:first-child').allInnerTexts();
	await waitFor('the largest first', async () => (await names())[0] === 'presence-walk.1');
	await id(page, 'channel-list').getByRole('link', { name: 'walk-2-1' }).click();
	await title(page, 'walk-2-1');
	assert.equal((await names())[0], 'presence-walk.1', 'the order stays');
	await id(page, 'channel-connections').click();
	await waitFor('its connection', async () => await users() === 'walker-2');
	assert.equal(await id(page, 'wanted').inputValue(), 'channel:walk-2-1');
	for (const client of clients) client.disconnect();
});
