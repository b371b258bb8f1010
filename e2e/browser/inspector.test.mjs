// The page at /inspector, used like an operator does.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import WebSocket from 'ws';
import { startServer } from '../support/server.mjs';
import { accessible } from './demo/demo.mjs';
import { TOKEN, answer, enter, id, tab, text } from './inspector.mjs';
import { artefacts, Browser, waitFor } from './support.mjs';

const LIMIT = { timeout: 300_000 };
let server;
let browser;

before(async () => {
	const env = { CLARIM_INSPECTOR_TOKEN: TOKEN, CLARIM_APP_HISTORY: 'kept-*:60:10m' };
	[server, browser] = await Promise.all([startServer({ env }), Browser.launch()]);
}, LIMIT);

after(async () => {
	await browser?.close();
	await server?.dispose();
});

afterEach(() => browser.endTest());

const open = (options) => enter(browser, server, options);

/** A client and the frames that it has received. */
async function client(...channels) {
	const socket = new WebSocket(`${server.url.replace('http', 'ws')}/app/${server.key}?protocol=7`);
	const frames = [];
	socket.addEventListener('message', ({ data }) => frames.push(JSON.parse(data)));
	await waitFor('the greeting', () => frames.length);
	const made = { socket, frames, id: JSON.parse(frames[0].data).socket_id };
	for (const channel of channels) {
		socket.send(JSON.stringify({ event: 'pusher:subscribe', data: { channel } }));
		await waitFor(channel, () => frames.some((frame) => frame.channel === channel));
	}
	return made;
}

function publish(channel) {
	return fetch(`${server.url}/inspector/api/apps/${server.appId}/events`, {
		method: 'POST', headers: { authorization: `Bearer ${TOKEN}` },
		body: JSON.stringify({ name: 'greeting', channel, data: '{}' }),
	});
}

test('asks for the token and rejects a wrong one', LIMIT, async () => {
	const page = await (await browser.context()).newPage();
	browser.expect(/401/);
	await page.goto(`${server.url}/inspector`);
	await id(page, 'token').fill('wrong');
	await page.keyboard.press('Enter');
	await waitFor('the rejection', async () => await text(id(page, 'token-problem')) === 'Wrong token.');
	await id(page, 'token').fill(TOKEN);
	await page.keyboard.press('Enter');
	await id(page, 'figures').locator('div').first().waitFor();
	// The token is kept for this tab.
	await page.reload();
	await id(page, 'figures').locator('div').first().waitFor();
	assert.equal(await id(page, 'entry').isVisible(), false);
});

test('nothing is loaded from other hosts', LIMIT, async () => {
	const context = await browser.context();
	const asked = [];
	await context.route('**', (route) => {
		asked.push(route.request().url());
		return route.continue();
	});
	const page = await context.newPage();
	browser.expect(/401/);
	await page.goto(`${server.url}/inspector`);
	await id(page, 'token').fill(TOKEN);
	await page.keyboard.press('Enter');
	await page.locator('.graph canvas').first().waitFor();
	assert.deepEqual(asked.filter((url) => !url.startsWith(server.url) && !url.startsWith('data:')), []);
});

test('figures and graphs are updated', LIMIT, async () => {
	const page = await open();
	const figure = (name) => text(page.locator(`[data-figure=${name}] dd`));
	const { socket } = await client('news', 'cache-rates');
	await waitFor('the connection', async () => await figure('connections') === '1' && await figure('channels') === '2');
	assert.equal(await page.locator('.graph canvas').count(), 4);
	socket.close();
	await waitFor('its end', async () => await figure('connections') === '0');
});

test('a connection can be found, inspected and closed', LIMIT, async () => {
	const page = await open();
	const one = await client('news');
	await tab(page, 'connections');
	await id(page, 'wanted').fill(one.id);
	await page.keyboard.press('Enter');
	const row = page.locator('#connection-list tbody tr');
	await waitFor('the row', async () => (await text(row)).includes('news'));
	const closed = new Promise((resolve) => { one.socket.addEventListener('close', ({ code }) => resolve(code)); });
	await row.getByRole('button').click();
	await accessible(page, 'the question');
	await answer(page, true);
	assert.equal(await closed, 4200);
	await waitFor('the note', async () => (await text(id(page, 'note'))).includes('was closed'));
});

test('channels link to their connections', LIMIT, async () => {
	const page = await open();
	const one = await client('orders.1');
	await tab(page, 'channels');
	await id(page, 'channel-query').fill('orders.');
	await page.keyboard.press('Enter');
	await page.locator('#channel-list tbody tr').getByRole('link').click();
	await id(page, 'channel-connections').click();
	await waitFor('the row', async () => (await text(id(page, 'connection-list'))).includes(one.id));
	one.socket.close();
});

test('an event published from the page arrives, and text of clients is never markup', LIMIT, async () => {
	const page = await open();
	const one = await client('news');
	await tab(page, 'events');
	await id(page, 'stream-note').filter({ hasText: 'shown' }).waitFor();
	const evil = '<script>document.title="taken"</script><img src=x onerror="document.title=\'taken\'"><b class="injected">';
	await id(page, 'event-channel').fill('news');
	await id(page, 'event-name').fill(evil);
	await id(page, 'event-data').fill(JSON.stringify({ evil: evil.repeat(20) }));
	await id(page, 'event-form').getByRole('button').click();
	await waitFor('the event', () => one.frames.some((frame) => frame.event === evil));
	await page.locator('#log .event').filter({ hasText: 'onerror' }).waitFor();
	assert.equal(await page.locator('.injected, #log img, #log script').count(), 0);
	assert.equal(await page.title(), 'Clarim: inspector');

	// The filter hides other events, and nothing is added during a pause.
	await id(page, 'filter').fill('nothing like it');
	assert.equal(await page.locator('#log .event').count(), 0);
	await id(page, 'filter').fill('');
	await page.locator('#log .event').first().waitFor();
	await id(page, 'pause').click();
	const before = await page.locator('#log .event').count();
	await id(page, 'event-form').getByRole('button').click();
	await waitFor('another', () => one.frames.filter((frame) => frame.event === evil).length === 2);
	assert.equal(await page.locator('#log .event').count(), before);
	await id(page, 'pause').click();
	await waitFor('the events of the pause', async () => await page.locator('#log .event').count() > before);
	one.socket.close();
});

test('a channel is found by the name that Echo uses, and a search without a match says so', LIMIT, async () => {
	const page = await open();
	await tab(page, 'channels');
	await page.getByText('No channel has subscribers.').waitFor();
	const one = await client('invoices-private', 'presenceless');
	const search = async (what) => {
		await id(page, 'channel-query').fill(what);
		await page.keyboard.press('Enter');
	};
	const names = () => page.locator('#channel-list tbody a').allInnerTexts();
	await search('private');
	await waitFor('the one', async () => (await names()).join() === 'invoices-private');
	assert.equal(await text(id(page, 'channel-count')), '1 of 2 channels');
	await search('nothing like it');
	await page.getByText('No match. 2 channels have subscribers.').waitFor();
	await accessible(page, 'no match');
	one.socket.close();
});

test('long lists have pages, and the back button knows them', LIMIT, async () => {
	const clients = await Promise.all(Array.from({ length: 110 }, (_, n) => client(`long.${String(n).padStart(3, '0')}`)));
	const page = await open();
	const first = (list) => text(id(page, list).locator('tbody tr td').first());
	const rows = (list, expected) => waitFor(`${expected} rows`, async () => await id(page, list).locator('tbody tr').count() === expected);
	await page.goto(`${server.url}/inspector#channels?q=long`);
	await rows('channel-list', 100);
	await page.getByRole('link', { name: 'Next page' }).click();
	await rows('channel-list', 10);
	assert.equal(await first('channel-list'), 'long.100');
	assert.equal(await page.getByRole('link', { name: 'Next page' }).count(), 0);
	await id(page, 'channel-list').getByRole('link', { name: 'long.105' }).click();
	await id(page, 'channel').waitFor();
	assert.equal(await first('channel-list'), 'long.100', 'the list stays where it is');
	await id(page, 'close-channel').click();
	await page.goBack();
	await page.reload();
	await rows('channel-list', 10);
	await page.getByRole('link', { name: 'First page' }).click();
	await rows('channel-list', 100);
	assert.equal(await first('channel-list'), 'long.000');

	await tab(page, 'connections');
	await rows('connection-list', 100);
	const before = await first('connection-list');
	await page.getByRole('link', { name: 'Next page' }).click();
	await waitFor('the other connections', async () => await first('connection-list') !== before);
	assert.ok(await id(page, 'connection-list').locator('tbody tr').count() >= 10);
	await page.screenshot({ path: join(artefacts, 'inspector-pages.png') });
	await page.goBack();
	await rows('connection-list', 100);
	assert.equal(await first('connection-list'), before);

	// A response that comes late does not replace the page that was asked for after it.
	await page.goto(`${server.url}/inspector#channels?q=long`);
	await rows('channel-list', 100);
	let isHeld = false;
	const answered = new Promise((resolve) => {
		page.route((url) => url.searchParams.get('contains') === 'held', async (route) => {
			isHeld = true;
			const response = await route.fetch();
			await rows('channel-list', 10);
			await route.fulfill({ response });
			resolve();
		});
	});
	await page.goto(`${server.url}/inspector#channels?q=held`);
	await waitFor('the request', () => isHeld);
	await page.goto(`${server.url}/inspector#channels?q=long.10`);
	await answered;
	await page.evaluate(() => new Promise((resolve) => { setTimeout(resolve, 100); }));
	assert.equal(await id(page, 'channel-list').locator('tbody tr').count(), 10);

	// Another app has other pages and channels.
	await page.goto(`${server.url}/inspector#channels?q=long&after=long.099&channel=long.105`);
	await id(page, 'channel').waitFor();
	await id(page, 'app').dispatchEvent('change');
	await rows('channel-list', 100);
	await id(page, 'channel').waitFor({ state: 'hidden' });
	assert.equal(new URL(page.url()).hash, '#channels?q=long');
	for (const { socket } of clients) socket.close();
});

test('tab, search, channel and filter are in the address, and the back button works', LIMIT, async () => {
	const page = await open();
	const one = await client('orders.1', 'orders.2');
	await tab(page, 'channels');
	await id(page, 'channel-query').fill('orders');
	await page.keyboard.press('Enter');
	await page.locator('#channel-list').getByRole('link', { name: 'orders.2' }).click();
	const title = id(page, 'channel-title');
	await waitFor('the channel', async () => await text(title) === 'orders.2');
	assert.equal(new URL(page.url()).hash, '#channels?q=orders&channel=orders.2');
	const box = await id(page, 'channel').boundingBox();
	assert.ok(box.y >= 0 && box.y < page.viewportSize().height, 'it opens in view');
	await page.reload();
	await waitFor('the channel after a reload', async () => await text(title) === 'orders.2');
	assert.equal(await id(page, 'channel-query').inputValue(), 'orders');
	await tab(page, 'events');
	await id(page, 'filter').fill('abc');
	await waitFor('the filter', () => new URL(page.url()).hash === '#events?q=abc');
	await page.goBack();
	await waitFor('the channel again', async () => await title.isVisible() && await text(title) === 'orders.2');
	await page.goBack();
	await id(page, 'channel').waitFor({ state: 'hidden' });
	assert.equal(await id(page, 'channel-query').inputValue(), 'orders');
	await page.goBack();
	await waitFor('no search', async () => await id(page, 'channel-query').inputValue() === '');
	await page.goBack();
	await id(page, 'overview').waitFor();
	one.socket.close();
});

test('a channel shows its position and what is kept, as it was sent', LIMIT, async () => {
	const page = await open();
	const data = '{"zebra":1,"id":12345678901234567890,"a":"\\u00e9"}';
	for (let n = 0; n < 70; n += 1) {
		const body = JSON.stringify({ name: `n${n}`, channel: 'kept-1', data: n === 69 ? data : `{"n":${n}}` });
		const answer = await fetch(`${server.url}/inspector/api/apps/${server.appId}/events`, { method: 'POST', headers: { authorization: `Bearer ${TOKEN}` }, body });
		assert.equal(answer.status, 200);
	}
	await page.goto(`${server.url}/inspector#channels?channel=kept-1`);
	await page.reload();
	const kept = page.locator('#channel-history .event');
	await waitFor('a page of events', async () => await kept.count() === 50);
	assert.match(await text(id(page, 'channel-position')), /^Position: offset 70, epoch \S+$/);
	assert.match(await text(kept.first()), /n69/);
	await kept.first().locator('summary').click();
	assert.equal(await text(kept.first().locator('pre')), data);
	await page.getByRole('button', { name: 'Older events' }).click();
	// The rule keeps sixty.
	await waitFor('the rest', async () => await kept.count() === 60);
	assert.match(await text(kept.last()), /n10/);
	await accessible(page, 'a history');
	// A channel without a rule says that it has no history.
	await page.goto(`${server.url}/inspector#channels?channel=other`);
	await page.getByText('No history: no history rule matches this channel.').waitFor();
});

test('events have milliseconds, and their data is as it was sent', LIMIT, async () => {
	const page = await open();
	await tab(page, 'events');
	await id(page, 'stream-note').filter({ hasText: 'shown' }).waitFor();
	const body = JSON.stringify({ name: 'exact', channel: 'news', data: '{"zebra":1.50,"10":12345678901234567890,"a":{"c":[],"b":null}}' });
	await fetch(`${server.url}/inspector/api/apps/${server.appId}/events`, { method: 'POST', headers: { authorization: `Bearer ${TOKEN}` }, body });
	const event = page.locator('#log .event').filter({ hasText: 'exact' });
	await event.waitFor();
	assert.match(await text(event.locator('time')), /^\d\d:\d\d:\d\d\.\d{3}$/);
	assert.equal(await text(event.locator('.preview')), '{ "zebra": 1.50, "10": 12345678901234567890, "a": { "c": [], "b": null } }');
	await event.locator('summary').click();
	assert.equal(await text(event.locator('pre')), '{\n  "zebra": 1.50,\n  "10": 12345678901234567890,\n  "a": {\n    "c": [],\n    "b": null\n  }\n}');
	// From an event to its channel.
	await event.getByRole('link', { name: 'news' }).click();
	await waitFor('the channel', async () => await text(id(page, 'channel-title')) === 'news');
});

test('graphs share a baseline and show values under the pointer', LIMIT, async () => {
	const page = await open();
	await waitFor('graphs', async () => await page.locator('.graph canvas').count() === 4);
	const places = await page.locator('.graph canvas').evaluateAll((all) => all.map((one) => {
		const { top, bottom } = one.getBoundingClientRect();
		return `${Math.round(top)} ${Math.round(bottom)}`;
	}));
	assert.equal(new Set(places).size, 1, places.join(', '));
	const tiles = await page.locator('#figures div').evaluateAll((all) => {
		const tops = all.map((one) => Math.round(one.getBoundingClientRect().top));
		return [...new Set(tops)].map((top) => tops.filter((other) => other === top).length);
	});
	assert.deepEqual(tiles, [5, 5], 'each row is full');
	await waitFor('a value', async () => {
		await page.locator('.graph .u-over').first().hover();
		return /\d\d:\d\d:\d\d/.test(await text(page.locator('.graph .keys').first()));
	});
});

test('on a phone every tab is in view', LIMIT, async () => {
	for (const locale of ['en-GB', 'pt-BR']) {
		const page = await open({ locale, viewport: { width: 360, height: 740 } });
		for (const name of ['overview', 'channels', 'connections', 'events', 'webhooks']) {
			const box = await id(page, `tab-${name}`).boundingBox();
			assert.ok(box.x >= 0 && box.x + box.width <= 360, `${name}, ${locale}: ${JSON.stringify(box)}`);
		}
	}
});

test('all sections can be reached with the keyboard', LIMIT, async () => {
	const page = await open();
	await id(page, 'tab-overview').focus();
	for (const name of ['channels', 'connections', 'events', 'webhooks']) {
		await page.keyboard.press('ArrowRight');
		await id(page, name).waitFor();
		assert.equal(await page.evaluate(() => document.activeElement.id), `tab-${name}`);
	}
	await page.keyboard.press('Home');
	await id(page, 'overview').waitFor();
	await page.keyboard.press('Tab');
	assert.equal(await page.evaluate(() => document.activeElement.id), 'overview');
});

for (const colorScheme of ['light', 'dark']) {
	for (const [width, locale] of [[1280, 'en-GB'], [360, 'pt-BR']]) {
		test(`${colorScheme}, ${width} pixels, ${locale}: fits, and axe finds nothing`, LIMIT, async () => {
			const page = await open({ locale, colorScheme, viewport: { width, height: 800 } });
			const one = await client('news', 'orders.1234567890');
			assert.equal(await page.getAttribute('html', 'lang'), locale === 'pt-BR' ? 'pt-BR' : 'en');
			const graphs = page.locator('.graph canvas');
			await waitFor('graphs', async () => await graphs.count() === 4);
			await waitFor('rates', async () => {
				await publish('news');
				return !(await text(page.locator('[data-figure=published] dd'))).startsWith('0');
			});
			for (const name of ['overview', 'channels', 'connections', 'events', 'webhooks']) {
				await tab(page, name);
				if (name === 'events') {
					await waitFor('the stream', async () => (await text(id(page, 'stream-note'))).includes('200'));
					one.socket.send(JSON.stringify({ event: 'pusher:ping', data: {} }));
					await page.locator('#log .event').first().waitFor();
				}
				if (name === 'connections') await page.locator('#connection-list table').waitFor();
				await accessible(page, `${name} ${colorScheme}`);
				const excess = await page.evaluate(() =>
					document.documentElement.scrollWidth - document.documentElement.clientWidth);
				assert.equal(excess, 0, `${name}: nothing to scroll sideways`);
				await page.screenshot({
					path: join(artefacts, `inspector-${colorScheme}-${width}-${name}.png`), fullPage: true,
				});
			}
			one.socket.close();
		});
	}
}

test('alerts show what was refused, and link to the tab that tells more', LIMIT, async () => {
	const page = await open();
	assert.ok(await id(page, 'alerts').isHidden(), 'nothing has gone wrong since the page was opened');
	const one = await client();
	const subscription = { channel: 'private-orders', auth: `${server.key}:wrong` };
	one.socket.send(JSON.stringify({ event: 'pusher:subscribe', data: subscription }));
	const stranger = new WebSocket(`${server.url.replace('http', 'ws')}/app/unknown-key?protocol=7`);
	await new Promise((resolve) => { stranger.addEventListener('close', resolve); });
	const list = id(page, 'alert-list');
	await list.getByText('Rejected client requests, invalid signature: 1').waitFor();
	await list.getByText('Refused connections, code 4001: 1').waitFor();
	await accessible(page, 'alerts');
	await page.screenshot({ path: join(artefacts, 'inspector-alerts.png'), fullPage: true });
	await id(page, 'language').selectOption('pt-BR');
	await list.getByText('Pedidos de clientes rejeitados, assinatura inválida: 1').click();
	await id(page, 'events').waitFor();
	one.socket.close();
});

test('is in Portuguese, and in English if chosen', LIMIT, async () => {
	const page = await open({ locale: 'pt-BR' });
	assert.equal(await page.title(), 'Clarim: inspetor');
	assert.equal(await text(id(page, 'tab-overview')), 'Visão geral');
	await id(page, 'language').selectOption('en');
	assert.equal(await text(id(page, 'tab-overview')), 'Overview');
	await page.reload();
	await waitFor('English', async () => await page.title() === 'Clarim: inspector');
});
