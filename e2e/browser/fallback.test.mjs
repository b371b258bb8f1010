// Pages without WebSockets: unmodified pusher-js in Chromium falls back to its own xhr_streaming and
// xhr_polling.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, afterEach, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { sdkFor } from '../support/clients.mjs';
import { app, startServer } from '../support/server.mjs';
import { Browser, waitFor } from './support.mjs';

const LIMIT = { timeout: 300_000 };
const PUSHER = fileURLToPath(new URL('../node_modules/pusher-js/dist/web/pusher.js', import.meta.url));

let clarim, browser, sdk, site;

before(async () => {
	const env = { REVERB_APP_ALLOWED_ORIGINS: 'localhost', REVERB_APP_MAX_CONNECTIONS: '10' };
	[clarim, browser] = await Promise.all([startServer({ env }), Browser.launch()]);
	sdk = sdkFor(clarim);
	site = createServer((_, response) => response.setHeader('content-type', 'text/html').end('<!doctype html>'));
	await new Promise((resolve) => { site.listen(0, '127.0.0.1', resolve); });
}, LIMIT);

after(async () => {
	await browser?.close();
	await clarim?.dispose();
	site?.close();
});

afterEach(async () => {
	await browser.endTest();
	// Sessions of closed pages expire soon.
	await waitFor('all sessions to end', async () => (await connections()) === 0, 12_000);
});

const connections = async () => (await (await sdk.get({ path: '/connections' })).json()).connections;

/** A browser without WebSockets, and one whose WebSockets fail to connect. */
const WITHOUT = () => { delete window.WebSocket; };
const BLOCKED = () => {
	window.WebSocket = class {
		constructor() { setTimeout(() => { this.onerror?.({}); this.onclose?.({ code: 1006, wasClean: false }); }, 10); }
		close() {}
	};
};

/** A page with a client that uses some transports. `heard` collects the data of its events. */
async function open(transports, { user = 'ana', key = app.key, socket = WITHOUT, host = 'localhost' } = {}) {
	const context = await browser.context();
	await context.addInitScript(socket);
	const page = await context.newPage();
	await page.exposeFunction('sign', (id, channel) => channel.startsWith('presence-')
		? sdk.authorizeChannel(id, channel, { user_id: user }) : sdk.authorizeChannel(id, channel));
	await page.goto(`http://${host}:${site.address().port}/`);
	await page.addScriptTag({ path: PUSHER });
	await page.evaluate(({ key, port, transports }) => {
		const customHandler = ({ socketId, channelName }, done) => sign(socketId, channelName).then((it) => done(null, it), done);
		window.errors = [];
		window.client = new Pusher(key, {
			cluster: '', forceTLS: false, wsHost: '127.0.0.1', wsPort: port, httpHost: '127.0.0.1', httpPort: port,
			enabledTransports: transports, channelAuthorization: { customHandler },
		});
		client.connection.bind('error', (error) => errors.push(error.error?.data?.code));
	}, { key, port: clarim.port, transports });
	return page;
}

const connected = (page) => waitFor('the connection', () => page.evaluate(() => client.connection.state === 'connected'));

const joined = async (page, name) => {
	await page.evaluate((name) => new Promise((resolve, reject) => {
		window.heard = [];
		const channel = client.subscribe(name);
		channel.bind_global((event, data) => { if (!event.startsWith('pusher')) heard.push(data); });
		channel.bind('pusher:subscription_succeeded', resolve);
		channel.bind('pusher:subscription_error', reject);
	}), name);
};

const numbers = (count) => Array.from({ length: count }, (_, n) => n);

for (const transport of ['xhr_streaming', 'xhr_polling']) {
	test(`${transport}: events, presence and whispers`, LIMIT, async () => {
		const [ana, rui] = await Promise.all([open([transport]), open([transport], { user: 'rui' })]);
		for (const page of [ana, rui]) {
			await connected(page);
			assert.equal(await page.evaluate(() => client.connection.connection.transport.name), transport);
		}
		assert.equal(await connections(), 2);
		await joined(ana, 'presence-room');
		await joined(rui, 'presence-room');
		await waitFor('both members', () => ana.evaluate(() => client.channel('presence-room').members.count === 2));

		for (const n of numbers(50)) await sdk.trigger('presence-room', 'counted', n);
		for (const page of [ana, rui]) {
			await waitFor('fifty events', () => page.evaluate(() => heard.length >= 50));
			assert.deepEqual(await page.evaluate(() => heard.splice(0)), numbers(50));
		}
		// Each whisper is a request of its own, and they overtake each other.
		await ana.evaluate(() => {
			for (let n = 0; n < 30; n += 1) client.channel('presence-room').trigger('client-typed', n);
		});
		await waitFor('thirty whispers', () => rui.evaluate(() => heard.length >= 30));
		assert.deepEqual(await rui.evaluate(() => heard.splice(0)), numbers(30));

		await ana.close();
		await waitFor('Ana to leave', () => rui.evaluate(() => client.channel('presence-room').members.count === 1), 12_000);
		await rui.evaluate(() => client.unsubscribe('presence-room'));
		await joined(rui, 'private-again');
	});

	test(`${transport}: more data than pusher-js reads from one response arrives complete`, LIMIT, async () => {
		const page = await open([transport]);
		await connected(page);
		await joined(page, 'rows');
		const text = 'ã'.repeat(10_000);
		const row = (n) => ({ channel: 'rows', name: 'row', data: { n, text: text.slice(n % 10) } });
		for (let n = 0; n < 120; n += 4) {
			await sdk.triggerBatch([0, 1, 2, 3].map((more) => row(n + more)));
			// No faster than the page reads, or its send queue would overflow.
			await waitFor('half of the rows', () => page.evaluate((n) => heard.length >= n / 2, n));
		}
		await waitFor('all rows', () => page.evaluate(() => heard.length >= 120));
		assert.deepEqual(await page.evaluate(() => heard.map(({ n }) => n)), numbers(120));
		assert.ok(await page.evaluate(() => heard.every(({ n, text }) => text.length === 10_000 - (n % 10))));
	});
}

test('pusher-js falls back when WebSockets are blocked', LIMIT, async () => {
	const page = await open(['ws', 'xhr_streaming', 'xhr_polling'], { socket: BLOCKED });
	await connected(page);
	assert.equal(await page.evaluate(() => client.connection.connection.transport.name), 'xhr_streaming');
});

test('a refused client receives the error code', LIMIT, async () => {
	for (const [what, options] of [[4001, { key: 'wrong' }], [4009, { host: '127.0.0.1' }]]) {
		const page = await open(['xhr_streaming'], options);
		await waitFor(`error ${what}`, () => page.evaluate((what) => errors.includes(what), what));
		await page.close();
	}
});

test('pages reconnect after a restart of the server', LIMIT, async () => {
	browser.expect(/ERR_CONNECTION_(REFUSED|RESET)|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE|blocked by CORS|ERR_FAILED/);
	const page = await open(['xhr_streaming']);
	await connected(page);
	await joined(page, 'news');
	const id = await page.evaluate(() => client.connection.socket_id);
	await clarim.restart();
	await waitFor('another connection', () => page.evaluate((id) => client.connection.state === 'connected' && client.connection.socket_id !== id, id), 40_000);
	await waitFor('the subscription', () => page.evaluate(() => client.channel('news').subscribed));
	await sdk.trigger('news', 'back', 1);
	await waitFor('the event', () => page.evaluate(() => heard.includes(1)));
});
