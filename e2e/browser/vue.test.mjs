// A Vue application with Laravel Echo, and a minimal backend in place of Laravel's. It serves the build and
// authorizes the channels of the logged-in user.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import Pusher from 'pusher';
import { build } from 'vite';
import { app, startServer } from '../support/server.mjs';
import { artefacts, Browser, REFUSED, temporary, waitFor } from './support.mjs';

const LIMIT = { timeout: 300_000 };
const ANA = { id: 1, name: 'Ana' };
const BIA = { id: 2, name: 'Bia' };

let clarim;
let browser;
let backend;
let site;
let pusher;
const output = temporary('vue');

before(async () => {
	[clarim, browser] = await Promise.all([startServer(), Browser.launch()]);
	const variables = {
		VITE_REVERB_APP_KEY: app.key,
		VITE_REVERB_HOST: '127.0.0.1',
		VITE_REVERB_PORT: String(clarim.port),
		VITE_REVERB_SCHEME: 'http',
	};
	await build({
		root: fileURLToPath(new URL('./app', import.meta.url)),
		configFile: false,
		envFile: false,
		logLevel: 'error',
		resolve: {
			alias: {
				// With the compiler, as the templates are strings.
				vue: 'vue/dist/vue.esm-bundler.js',
				'@clarim/js/echo': fileURLToPath(new URL('../../packages/js/src/echo/index.ts', import.meta.url)),
				'@clarim/js': fileURLToPath(new URL('../../packages/js/src/index.ts', import.meta.url)),
				'@clarim/vue': fileURLToPath(new URL('../../packages/vue/src/index.ts', import.meta.url)),
			},
			// The package has its own Vue for its tests, and components do not work across two copies of Vue.
			dedupe: ['vue', 'laravel-echo', 'pusher-js'],
		},
		define: {
			__VUE_OPTIONS_API__: 'true',
			__VUE_PROD_DEVTOOLS__: 'false',
			__VUE_PROD_HYDRATION_MISMATCH_DETAILS__: 'false',
			...Object.fromEntries(Object.entries(variables)
				.map(([name, value]) => [`import.meta.env.${name}`, JSON.stringify(value)])),
		},
		build: { outDir: output.path, emptyOutDir: true, target: 'esnext', chunkSizeWarningLimit: 2000 },
	});
	pusher = new Pusher({
		...app, host: '127.0.0.1', port: String(clarim.port), useTLS: false,
	});
	backend = createServer((request, response) => {
		answer(request, response).catch((error) => response.writeHead(500).end(error.stack));
	}).listen(0, '127.0.0.1');
	await once(backend, 'listening');
	site = `http://127.0.0.1:${backend.address().port}`;
}, { timeout: 300_000 });

after(async () => {
	await browser?.close();
	backend?.closeAllConnections();
	backend?.close();
	await clarim?.dispose();
	output.remove();
});

afterEach(async () => {
	await browser.endTest();
	await clarim.start();
});

async function answer(request, response) {
	const { pathname } = new URL(request.url, site);
	if (pathname === '/broadcasting/auth') return authorize(request, response);
	const file = extname(pathname) ? pathname : 'index.html';
	const type = { '.js': 'text/javascript', '.html': 'text/html; charset=utf-8' }[extname(file)];
	response.writeHead(200, { 'Content-Type': type }).end(await readFile(join(output.path, file)));
}

async function authorize(request, response) {
	let body = '';
	for await (const chunk of request) body += chunk;
	const form = new URLSearchParams(body);
	const user = JSON.parse(decodeURIComponent(request.headers.cookie.match(/user=([^;]+)/)[1]));
	const member = { user_id: String(user.id), user_info: user };
	const channel = form.get('channel_name');
	const signed = pusher.authorizeChannel(form.get('socket_id'), channel,
		channel.startsWith('presence-') ? member : undefined);
	response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(signed));
}

async function logIn(user) {
	const context = await browser.context({ locale: 'pt-BR' });
	await context.addCookies([{ name: 'user', value: encodeURIComponent(JSON.stringify(user)), url: site }]);
	return context;
}

async function open(context, path) {
	const page = await context.newPage();
	await page.goto(site + path);
	await shows(page, 'connection', 'Online');
	return page;
}

const shot = (page, path, name) => page.screenshot({ path: join(artefacts, `vue-${path.slice(1)}-${name}.png`) });

const text = async (page, id) => (await page.locator(`#${id}`).innerText()).trim();
const items = (page, id) => page.locator(`#${id} li`).allInnerTexts();

const shows = (page, id, words, timeout) =>
	waitFor(`#${id} to be ${words}`, async () => await text(page, id) === words, timeout);

async function online(page, ...names) {
	let seen;
	await waitFor(`the members ${names}`, async () => {
		seen = (await items(page, 'online')).sort();
		return seen.join() === names.join();
	}).catch((error) => { throw new Error(`${error.message}, but saw ${seen}`, { cause: error }); });
}

/**
 * Waits until `count` pages are subscribed to each channel. A presence channel does not count subscriptions.
 */
async function occupied(count) {
	const answers = {};
	await waitFor(`${count} subscriptions of each channel`, async () => {
		for (const [channel, info] of [
			['news', 'subscription_count'], ['private-orders.7', 'subscription_count'], ['presence-chat.1', 'user_count'],
		]) {
			answers[channel] = await (await pusher.get({ path: `/channels/${channel}`, params: { info } })).json();
			if (answers[channel][info] !== count) return false;
		}
		return true;
	}).catch((error) => { throw new Error(`${error.message}: ${JSON.stringify(answers)}`, { cause: error }); });
}

const broadcast = (channel, event, title) => pusher.trigger(channel, `App\\Events\\${event}`, { title });

/** Publishes one event on each channel, with the same title. */
async function broadcastAll(title) {
	const answers = await Promise.all([
		broadcast('news', 'NewsPublished', title),
		broadcast('private-orders.7', 'OrderShipped', title),
		broadcast('presence-chat.1', 'MessageSent', title),
	]);
	for (const { status } of answers) assert.equal(status, 200);
}

async function received(page, ...titles) {
	for (const id of ['news', 'orders', 'messages']) {
		let seen;
		await waitFor(`the last of ${titles} in #${id}`, async () => {
			seen = await items(page, id);
			return seen.includes(titles.at(-1));
		});
		assert.deepEqual(seen, titles, id);
	}
}

for (const path of ['/tutorial', '/echo-vue']) {
	test(`${path}: members see each other come and go`, LIMIT, async () => {
		const ana = await open(await logIn(ANA), path);
		await online(ana, 'Ana');
		const context = await logIn(BIA);
		const bia = await open(context, path);
		for (const page of [ana, bia]) await online(page, 'Ana', 'Bia');

		// Leaving and rejoining the room on the same connection.
		await bia.click('#toggle');
		await online(ana, 'Ana');
		await shows(bia, 'connection', 'Online');
		await bia.click('#toggle');
		for (const page of [ana, bia]) await online(page, 'Ana', 'Bia');

		// A second tab of the same user is not a second member, and closing it is not a leave.
		const second = await open(context, path);
		await online(second, 'Ana', 'Bia');
		await online(ana, 'Ana', 'Bia');
		await second.close();
		await occupied(2);
		await online(ana, 'Ana', 'Bia');

		await context.close();
		await online(ana, 'Ana');
	});

	test(`${path}: events of the backend arrive exactly once`, LIMIT, async () => {
		const pages = [await open(await logIn(ANA), path), await open(await logIn(BIA), path)];
		await occupied(2);
		await broadcastAll('first');
		await broadcastAll('second');
		for (const page of pages) await received(page, 'first', 'second');

		// After leaving and rejoining, events still arrive once, without those published in between.
		const [ana, bia] = pages;
		await bia.click('#toggle');
		await occupied(1);
		await broadcastAll('unheard');
		await received(ana, 'first', 'second', 'unheard');
		await bia.click('#toggle');
		await occupied(2);
		await broadcastAll('third');
		await received(ana, 'first', 'second', 'unheard', 'third');
		await received(bia, 'third');
	});

	test(`${path}: an event is not sent to the socket that caused it`, LIMIT, async () => {
		const [ana, bia] = [await open(await logIn(ANA), path), await open(await logIn(BIA), path)];
		await occupied(2);
		// Like Laravel's toOthers() with the X-Socket-ID header.
		const socketId = await ana.evaluate(() => window.socketId());
		await pusher.trigger('presence-chat.1', 'App\\Events\\MessageSent', { title: 'to others' },
			{ socket_id: socketId });
		await broadcastAll('to all');
		await received(ana, 'to all');
		await waitFor('both', async () => (await items(bia, 'messages')).length === 2);
		assert.deepEqual(await items(bia, 'messages'), ['to others', 'to all']);
	});

	test(`${path}: typing is shown to the other user`, LIMIT, async () => {
		const [ana, bia] = [await open(await logIn(ANA), path), await open(await logIn(BIA), path)];
		for (const page of [ana, bia]) await online(page, 'Ana', 'Bia');
		await occupied(2);
		// One key at a time, because the private channel may not be subscribed yet.
		await waitFor('the whisper', async () => {
			await ana.locator('#compose').pressSequentially('o');
			return await bia.locator('#typing').isVisible();
		});
		assert.equal(await text(bia, 'typing'), 'Ana está digitando...');
		await shot(bia, path, 'typing');
		assert.equal(await ana.locator('#typing').count(), 0);
		await bia.locator('#typing').waitFor({ state: 'detached' });
	});

	test(`${path}: the chat continues after a crash of the server`, LIMIT, async () => {
		const [ana, bia] = [await open(await logIn(ANA), path), await open(await logIn(BIA), path)];
		await occupied(2);
		browser.expect(REFUSED);
		const socketIds = () => Promise.all([ana, bia].map((page) => page.evaluate(() => window.socketId())));
		const old = await socketIds();
		await clarim.kill();
		await clarim.start();
		await waitFor('new connections', async () =>
			(await socketIds()).every((id, i) => id && id !== old[i]));
		for (const page of [ana, bia]) await shows(page, 'connection', 'Online');
		await occupied(2);
		await broadcastAll('after');
		for (const page of [ana, bia]) await received(page, 'after');
	});

	test(`${path}: the indicator follows the server, and so do the channels`, LIMIT, async () => {
		const [ana, bia] = [await open(await logIn(ANA), path), await open(await logIn(BIA), path)];
		await occupied(2);
		await broadcastAll('before');
		for (const page of [ana, bia]) await received(page, 'before');

		browser.expect(REFUSED);
		await clarim.stop();
		for (const page of [ana, bia]) await shows(page, 'connection', 'Offline');
		await shot(ana, path, 'offline');
		await clarim.start();
		// When the connection is refused, pusher-js waits 15 s before it tries again.
		for (const page of [ana, bia]) await shows(page, 'connection', 'Online');

		await occupied(2);
		for (const page of [ana, bia]) await online(page, 'Ana', 'Bia');
		await broadcastAll('after');
		for (const page of [ana, bia]) await received(page, 'before', 'after');
		await shot(ana, path, 'online-again');
	});
}

test('when the name of a channel changes, @clarim/vue follows it, and echo-vue does not', LIMIT, async () => {
	const context = await logIn(ANA);
	const ways = ['clarim', 'echo-vue', 'echo-vue-dependencies'];
	const pages = await Promise.all(ways.map(async (way) => {
		const page = await context.newPage();
		await page.goto(`${site}/follow/${way}`);
		return page;
	}));
	const subscriptions = async (channel) => {
		const asked = { path: `/channels/${channel}`, params: { info: 'subscription_count' } };
		return (await (await pusher.get(asked)).json()).subscription_count ?? 0;
	};
	const subscribed = async (wanted) => {
		let seen;
		await waitFor(`the subscriptions ${JSON.stringify(wanted)}`, async () => {
			const counts = Object.keys(wanted).map(async (channel) => [channel, await subscriptions(channel)]);
			seen = Object.fromEntries(await Promise.all(counts));
			return isDeepStrictEqual(seen, wanted);
		}).catch((error) => { throw new Error(`${error.message}, but saw ${JSON.stringify(seen)}`, { cause: error }); });
	};
	const ship = async (order, title) => {
		assert.equal((await broadcast(`private-orders.${order}`, 'OrderShipped', title)).status, 200);
	};

	await subscribed({ news: 3, 'private-orders.7': 3, 'private-orders.8': 0 });
	await ship(7, 'of 7');
	for (const [i, page] of pages.entries()) {
		await waitFor(`the event of 7 on ${ways[i]}`, async () => (await items(page, 'heard')).includes('of 7'));
		await page.fill('#order', '8');
	}
	// The first page has changed from 7 to 8, the second has stayed, and the third has only unsubscribed.
	await subscribed({ news: 3, 'private-orders.7': 1, 'private-orders.8': 1 });
	await ship(8, 'of 8');
	await ship(7, 'of 7 again');
	await ship(8, 'of 8 again');
	// The last event: earlier ones that are missing now will not arrive.
	await broadcast('news', 'NewsPublished', 'end');

	for (const [i, heard] of [
		['of 7', 'of 8', 'of 8 again', 'end'],
		['of 7', 'of 7 again', 'end'],
		['of 7', 'end'],
	].entries()) {
		await waitFor(`the end on ${ways[i]}`, async () => (await items(pages[i], 'heard')).includes('end'));
		assert.deepEqual(await items(pages[i], 'heard'), heard, ways[i]);
	}
});
