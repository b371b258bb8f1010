// The page of a development server at /playground, used like a developer does.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { startServer } from '../support/server.mjs';
import { artefacts, Browser, REFUSED, waitFor } from './support.mjs';

const LIMIT = { timeout: 300_000 };

let server;
let browser;

before(async () => {
	[server, browser] = await Promise.all([startServer({ development: true }), Browser.launch()]);
}, LIMIT);

after(async () => {
	await browser?.close();
	await server?.dispose();
});

afterEach(() => browser.endTest());

const id = (page, name) => page.locator(`#${name}`);
const row = (page, channel) => page.locator(`#subscriptions > li[data-channel="${channel}"]`);
const entries = (page, kind, text) => page.locator(`#log .entry.${kind}`).filter({ hasText: text });
const text = (locator) => locator.innerText();

async function open(context, { address = '/playground', connected = 'Connected' } = {}) {
	const page = await context.newPage();
	const response = await page.goto(server.url + address);
	assert.equal(response.status(), 200);
	await waitFor('the connection', async () => await text(id(page, 'status')) === connected);
	return page;
}

async function subscribe(page, channel, state = 'subscribed') {
	await id(page, 'channel-input').fill(channel);
	await id(page, 'subscribe').click();
	await subscribed(page, channel, state);
}

async function subscribed(page, channel, state = 'subscribed') {
	await waitFor(`${channel} ${state}`, async () =>
		(await text(row(page, channel).locator('small'))).startsWith(state));
}

async function fillEvent(page, { channel, name, data }) {
	await id(page, 'event-channel').fill(channel);
	await id(page, 'event-name').fill(name);
	await id(page, 'event-data').fill(JSON.stringify(data));
}

test('connects, subscribes, sends an event and shows it arriving', LIMIT, async () => {
	const page = await open(await browser.context());
	assert.match(await text(id(page, 'socket-id')), /^\d+\.\d+$/);
	assert.equal(await page.getAttribute('html', 'lang'), 'en');

	await subscribe(page, 'hello');
	await fillEvent(page, { channel: 'hello', name: 'greeting', data: { message: 'good morning' } });
	await id(page, 'send').click();
	await entries(page, 'in', 'good morning').waitFor();

	const entry = await text(entries(page, 'in', 'good morning'));
	assert.match(entry, /hello/);
	assert.match(entry, /greeting/);
	assert.match(entry, /[\d.]+ ms round trip/);
	assert.equal(await entries(page, 'out', 'good morning').count(), 1);
	assert.equal(await entries(page, 'in', 'good morning').count(), 1);
	assert.equal(await text(id(page, 'send-note')), 'Sent.');
	assert.match(await text(id(page, 'snippet')), /Echo\.channel\("hello"\)\.listen\("\.greeting"/);
});

test('an event reaches a second tab, once', LIMIT, async () => {
	const context = await browser.context();
	const one = await open(context);
	await subscribe(one, 'hello');
	const [two] = await Promise.all([context.waitForEvent('page'), one.click('#second-tab')]);
	await subscribed(two, 'hello');

	await fillEvent(one, { channel: 'hello', name: 'greeting', data: 'to both' });
	await id(one, 'send').click();
	await Promise.all([one, two].map((page) => entries(page, 'in', 'to both').waitFor()));
	await fillEvent(two, { channel: 'hello', name: 'greeting', data: 'and back' });
	await id(two, 'send').click();
	await Promise.all([one, two].map((page) => entries(page, 'in', 'and back').waitFor()));
	for (const page of [one, two]) assert.equal(await entries(page, 'in', 'to both').count(), 1);
});

test('events of a channel no longer arrive after unsubscribing', LIMIT, async () => {
	const page = await open(await browser.context());
	await subscribe(page, 'first');
	await subscribe(page, 'second');
	await row(page, 'first').getByRole('button', { name: 'Unsubscribe from first' }).click();
	await row(page, 'first').waitFor({ state: 'detached' });
	await entries(page, 'system', 'Unsubscribed').waitFor();

	await fillEvent(page, { channel: 'first', name: 'news', data: 'unheard' });
	await id(page, 'send').click();
	await waitFor('the note', async () =>
		await text(id(page, 'send-note')) === 'Sent, but this page is not subscribed to first.');
	// Events arrive in order: the earlier one would have arrived before this one.
	await fillEvent(page, { channel: 'second', name: 'news', data: 'heard' });
	await id(page, 'send').click();
	await entries(page, 'in', 'heard').waitFor();
	assert.equal(await entries(page, 'in', 'unheard').count(), 0);
	assert.equal(new URL(page.url()).hash, '#second');
});

test('a presence channel shows its members', LIMIT, async () => {
	const context = await browser.context();
	const [one, two] = [await open(context), await open(context)];
	await subscribe(one, 'presence-room');
	await waitFor('oneself', async () =>
		await text(row(one, 'presence-room').locator('small')) === 'subscribed · 1 member');
	await subscribe(two, 'presence-room');
	for (const page of [one, two]) {
		await waitFor('two members', async () =>
			await text(row(page, 'presence-room').locator('small')) === 'subscribed · 2 members');
		const members = await row(page, 'presence-room').locator('.members li').allInnerTexts();
		assert.equal(members.length, 2);
		assert.equal(members.filter((name) => /^Guest \d{4} \(you\)$/.test(name)).length, 1);
	}
	await entries(one, 'system', 'Member joined').waitFor();

	await two.close();
	await entries(one, 'system', 'Member left').waitFor();
	assert.equal(await row(one, 'presence-room').locator('.members li').count(), 1);
});

test('a whisper reaches the other tab only', LIMIT, async () => {
	const context = await browser.context();
	const [one, two] = [await open(context), await open(context)];
	for (const page of [one, two]) await subscribe(page, 'private-talk');
	await fillEvent(one, { channel: 'private-talk', name: 'typing', data: { who: 'one' } });
	await id(one, 'whisper').click();
	await entries(two, 'in', 'client-typing').waitFor();
	// Messages arrive in order: the first whisper would have arrived before this reply.
	await fillEvent(two, { channel: 'private-talk', name: 'typing', data: { who: 'two' } });
	await id(two, 'whisper').click();
	await entries(one, 'in', 'client-typing').waitFor();
	assert.match(await text(entries(one, 'in', 'client-typing')), /"who": "two"/);
	assert.equal(await entries(two, 'in', 'client-typing').count(), 1);
	assert.equal(await text(id(two, 'send-note')), 'Whisper sent to the other subscribers.');
});

test('whispering is offered on subscribed private and presence channels only', LIMIT, async () => {
	const page = await open(await browser.context());
	await subscribe(page, 'hello');
	assert.equal(await id(page, 'whisper').isDisabled(), true);
	await subscribe(page, 'private-talk');
	assert.equal(await id(page, 'whisper').isDisabled(), false);
	await id(page, 'event-channel').fill('private-other');
	assert.equal(await id(page, 'whisper').isDisabled(), true);
});

test('reports invalid channel names and invalid data', LIMIT, async () => {
	const page = await open(await browser.context());
	await id(page, 'channel-input').fill('no spaces, please');
	await id(page, 'subscribe').click();
	assert.match(await text(id(page, 'channel-problem')), /^Use only letters/);
	assert.equal(await id(page, 'channel-input').getAttribute('aria-invalid'), 'true');

	await id(page, 'event-data').fill('{');
	assert.match(await text(id(page, 'send-note')), /^Not valid JSON/);
	await id(page, 'send').click();
	assert.equal(await page.locator('#log .entry.out').count(), 0);
});

test('text of clients is never markup', LIMIT, async () => {
	const page = await open(await browser.context());
	await subscribe(page, 'hello');
	const data = '<img src=x onerror="document.title=1"><b id="injected">x</b>';
	await fillEvent(page, { channel: 'hello', name: '<b id="injected">', data });
	await id(page, 'send').click();
	await entries(page, 'in', 'onerror').waitFor();
	assert.equal(await page.locator('#injected, #log img').count(), 0);
});

test('is in Portuguese for a Brazilian browser', LIMIT, async () => {
	const context = await browser.context({ locale: 'pt-BR' });
	const page = await open(context, { connected: 'Conectado' });
	assert.equal(await page.getAttribute('html', 'lang'), 'pt-BR');
	assert.equal(await page.title(), 'Clarim: experimente');
	assert.equal(await text(id(page, 'subscribe')), 'Inscrever-se');
	assert.equal(await text(id(page, 'send')), 'Enviar evento');
	assert.equal(await id(page, 'language').inputValue(), 'pt-BR');
	await subscribe(page, 'presence-sala', 'inscrito');
	await waitFor('oneself', async () => /Visitante \d{4} \(você\)/.test(await text(row(page, 'presence-sala'))));

	const english = (await browserWords(page)).filter((words) =>
		/\b(the|subscribe|subscribed|channel|event|send|connected|yet|member)\b/i.test(words));
	assert.deepEqual(english, []);

	// The choice applies at once and is remembered.
	await id(page, 'language').selectOption('en');
	assert.equal(await page.getAttribute('html', 'lang'), 'en');
	assert.equal(await text(id(page, 'subscribe')), 'Subscribe');
	await page.reload();
	await waitFor('the connection', async () => await text(id(page, 'status')) === 'Connected');
	assert.equal(await page.getAttribute('html', 'lang'), 'en');
});

/** The page's own text, without user input and code. */
function browserWords(page) {
	return page.evaluate(() => [...document.querySelectorAll('[data-t], #status, #kind-hint, #log-empty, small')]
		.filter((node) => !node.closest('#language')).map((node) => node.textContent));
}

for (const signal of ['SIGTERM', 'SIGKILL']) {
	test(`reconnects after ${signal} of the server`, LIMIT, async () => {
		const page = await open(await browser.context());
		await subscribe(page, 'hello');
		const before = await text(id(page, 'socket-id'));
		browser.expect(REFUSED);
		await (signal === 'SIGTERM' ? server.stop() : server.kill());
		await waitFor('the loss', async () => /^Disconnected, reconnecting/.test(await text(id(page, 'status'))));
		await entries(page, 'error', 'Connection lost').waitFor();
		if (signal === 'SIGTERM') assert.match(await text(entries(page, 'error', 'Connection lost')), /4200/);
		await server.start();
		await waitFor('the reconnection', async () => await text(id(page, 'status')) === 'Connected');
		await subscribed(page, 'hello');
		assert.notEqual(await text(id(page, 'socket-id')), before);

		await fillEvent(page, { channel: 'hello', name: 'greeting', data: 'back again' });
		await id(page, 'send').click();
		await entries(page, 'in', 'back again').waitFor();
		assert.equal(await entries(page, 'in', 'back again').count(), 1);
	});
}

for (const colorScheme of ['light', 'dark']) {
	for (const width of [1280, 360]) {
		test(`fits ${width} pixels, ${colorScheme}`, LIMIT, async () => {
			const locale = width === 360 ? 'pt-BR' : 'en-GB';
			const context = await browser.context({ locale, colorScheme, viewport: { width, height: 800 } });
			const page = await context.newPage();
			const shot = (name) => page.screenshot({
				path: join(artefacts, `playground-${colorScheme}-${width}-${name}.png`), fullPage: true,
			});
			await page.goto(`${server.url}/playground`);
			await waitFor('the connection', async () =>
				await id(page, 'status').locator('..').getAttribute('data-state') === 'connected');
			await shot('fresh');

			const state = width === 360 ? 'inscrito' : 'subscribed';
			await subscribe(page, 'hello', state);
			await subscribe(page, 'private-orders.1234567890', state);
			await subscribe(page, 'presence-room', state);
			await fillEvent(page, {
				channel: 'presence-room', name: 'App\\Events\\OrderShipped', data: { order: { id: 17, total: 'R$ 129,90' } },
			});
			await id(page, 'send').click();
			await entries(page, 'in', '129,90').waitFor();
			await shot('used');

			const excess = await page.evaluate(() =>
				document.documentElement.scrollWidth - document.documentElement.clientWidth);
			assert.equal(excess, 0, 'nothing to scroll sideways');
		});
	}
}
