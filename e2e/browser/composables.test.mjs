// Each example of the README of @clarim/vue, unchanged, in a browser with the package as npm packs it.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { promisify } from 'node:util';
import { build, createServer } from 'vite';
import { freePort } from '../support/ports.mjs';
import { app, startServer } from '../support/server.mjs';
import { blocks, examples, makeApp, typeErrors, viteOptions } from './composables/app.mjs';
import { startBackend } from './composables/backend.mjs';
import { Browser, REFUSED, temporary, waitFor } from './support.mjs';

const LIMIT = { timeout: 300_000 };
const ANA = { id: 1, name: 'Ana', watchlist: ['2'] };
const BIA = { id: 2, name: 'Bia' };
const PUSHED = 'Illuminate\\Notifications\\Events\\BroadcastNotificationCreated';

const folder = temporary('composables');
const opened = new Set();
let clarim;
let browser;
let backend;
let packed;

before(async () => {
	[clarim, browser] = await Promise.all([startServer(), Browser.launch()]);
	packed = await makeApp(folder.path, {
		VITE_REVERB_APP_KEY: app.key,
		VITE_REVERB_HOST: '127.0.0.1',
		VITE_REVERB_PORT: clarim.port,
		VITE_REVERB_SCHEME: 'http',
	});
	await build(viteOptions(folder.path));
	backend = await startBackend(clarim.port, join(folder.path, 'dist'));
}, { timeout: 600_000 });

after(async () => {
	await browser?.close();
	backend?.close();
	await clarim?.dispose();
	folder.remove();
});

afterEach(async () => {
	await browser.endTest();
	await clarim.start();
});

async function open(path, user = ANA, site = backend.url) {
	const context = await browser.context();
	await context.addCookies([{ name: 'user', value: encodeURIComponent(JSON.stringify(user)), url: site }]);
	const page = await context.newPage();
	opened.add(path.match(/\w+/)[0]);
	await page.goto(site + path);
	return page;
}

const send = async (channel, event, data) =>
	assert.equal((await backend.pusher.trigger(channel, event, data)).status, 200);

const shows = (page, what, words) => {
	let seen;
	return waitFor(`${what} to be ${words}`, async () => {
		seen = (await page.locator(what).allInnerTexts()).map((text) => text.trim()).join();
		return seen === words;
	}).catch((error) => { throw new Error(`${error.message}, but it is ${seen}`, { cause: error }); });
};

/** Waits until a channel has `count` subscriptions (a presence channel: users). */
const joined = (channel, count) => waitFor(`${count} on ${channel}`, async () => {
	const info = channel.startsWith('presence-') ? 'user_count' : 'subscription_count';
	const answer = await (await backend.pusher.get({ path: `/channels/${channel}`, params: { info } })).json();
	return (answer[info] ?? 0) === count;
});

test('useChannel', LIMIT, async () => {
	const page = await open('/News');
	await joined('news', 1);
	await send('news', 'App\\Events\\NewsPublished', { title: 'one' });
	await send('news', 'App\\Events\\NewsPublished', { title: 'two' });
	await shows(page, 'li', 'two,one');
});

test('usePrivateChannel follows a channel name that changes', LIMIT, async () => {
	const page = await open('/Shipping');
	await joined('private-orders.7', 1);
	await send('private-orders.7', 'App\\Events\\OrderShipped', { order: 7, carrier: 'Correios' });
	await shows(page, 'li', 'Order 7: Correios');
	await page.fill('input', '8');
	await joined('private-orders.8', 1);
	await joined('private-orders.7', 0);
	await send('private-orders.7', 'App\\Events\\OrderShipped', { order: 7, carrier: 'unheard' });
	await send('private-orders.8', 'App\\Events\\OrderShipped', { order: 8, carrier: 'Azul' });
	await shows(page, 'li', 'Order 7: Correios,Order 8: Azul');
});

test('usePresenceChannel', LIMIT, async () => {
	const ana = await open('/Chat');
	await shows(ana, 'p', 'Online: Ana');
	const bia = await open('/Chat', BIA);
	await shows(ana, 'p', 'Online: Ana, Bia');
	await shows(bia, 'p', 'Online: Ana, Bia');
	await send('presence-chat.1', 'App\\Events\\MessageSent', { user: 'Bia', text: 'Oi' });
	await shows(ana, 'li', '1 here,Bia joined,Bia: Oi');
	await bia.context().close();
	await shows(ana, 'li', '1 here,Bia joined,Bia: Oi,Bia left');
	await shows(ana, 'p', 'Online: Ana');
});

test('useEncryptedChannel', LIMIT, async () => {
	const page = await open('/Payments');
	await joined('private-encrypted-payments', 1);
	await send('private-encrypted-payments', 'payment.received', { amount: 'R$ 12,50' });
	await shows(page, 'li', 'R$ 12,50');
});

test('useWebSocketStatus', LIMIT, async () => {
	const page = await open('/Indicator');
	await shows(page, 'p', 'Online');
	assert.equal(await page.locator('p').getAttribute('title'), 'connected');
	browser.expect(REFUSED);
	await clarim.stop();
	await shows(page, 'p', 'Offline');
	await clarim.start();
	// When the connection is refused, pusher-js waits 15 s before it tries again.
	await shows(page, 'p', 'Online');
});

test('onMissed requests missed events after a reconnect', LIMIT, async () => {
	const page = await open('/Missed');
	await shows(page, 'p', 'Live');
	await send('private-orders.7', 'App\\Events\\OrderShipped', { order: 7, carrier: 'heard' });
	await shows(page, 'li', 'heard');
	assert.deepEqual(backend.stored.asked, []);
	browser.expect(REFUSED);
	await clarim.kill();
	backend.stored.shipped = ['missed'];
	await clarim.start();
	await waitFor('the request', () => backend.stored.asked.length > 0);
	await shows(page, 'p', 'Live');
	await send('private-orders.7', 'App\\Events\\OrderShipped', { order: 7, carrier: 'heard again' });
	await shows(page, 'li', 'heard,missed,heard again');
	assert.deepEqual(backend.stored.asked, ['1']);
});

test('useSubscription reports a denied authorization', LIMIT, async () => {
	browser.expect(/403/);
	const page = await open('/Missed', BIA);
	await shows(page, 'p', 'You may not see this order.');
});

test('useWhisper', LIMIT, async () => {
	const [ana, bia] = [await open('/Typing'), await open('/Typing?me=Bia', BIA)];
	await joined('private-chat.1', 2);
	await bia.locator('input').pressSequentially('Oi, Ana');
	await shows(ana, 'p', 'Bia typing…');
	assert.equal(await bia.locator('p').count(), 0);
	await ana.locator('p').waitFor({ state: 'detached' });
});

test('useNotifications', LIMIT, async () => {
	const stored = (id) => ({ id, type: 'InvoicePaid', data: { message: `Invoice ${id}` }, read_at: null });
	backend.stored.notifications = [stored('2'), stored('1')];
	const page = await open('/Bell');
	await shows(page, 'button', '2 unread,Invoice 2,Invoice 1');
	await send('private-App.Models.User.1', PUSHED, { id: '3', type: 'InvoicePaid', message: 'Invoice 3' });
	await shows(page, 'button', '3 unread,Invoice 3,Invoice 2,Invoice 1');
	await shows(page, 'p', 'Invoice 3');
	await page.click('text=Invoice 2');
	await shows(page, 'li.read', 'Invoice 2');
	await waitFor('the mark', () => backend.stored.read.length === 1);
	backend.stored.notifications = ['3', '2', '1'].map((id) => ({ ...stored(id), read_at: id === '2' ? '2026-01-01' : null }));
	const other = await page.context().newPage();
	await other.goto(page.url());
	await shows(other, 'button >> nth=0', '2 unread');
	await page.click('text=2 unread');
	for (const tab of [page, other]) await shows(tab, 'button >> nth=0', '0 unread');
	assert.deepEqual(backend.stored.read, [['2'], 'all']);
});

test('useModel', LIMIT, async () => {
	backend.stored.order = { id: 7, status: 'paid' };
	const page = await open('/Order');
	await shows(page, 'p', 'paid');
	await send('private-App.Models.Order.7', 'OrderUpdated', { model: { id: 7, status: 'shipped' } });
	await shows(page, 'p', 'shipped');
	await send('private-App.Models.Order.7', 'OrderDeleted', { model: { id: 7, status: 'shipped' } });
	await shows(page, 'p', 'No such order');
});

test('useUser', LIMIT, async () => {
	const ana = await open('/Account');
	await shows(ana, 'p', 'Signed in as 1,Friends online:');
	const bia = await open('/Account', BIA);
	await shows(ana, 'p', 'Signed in as 1,Friends online: 2');
	await backend.pusher.sendToUser('1', 'App\\Events\\MessageSent', { user: 'Bia', text: 'Oi' });
	await shows(ana, 'li', 'Oi');
	await bia.context().close();
	await shows(ana, 'p', 'Signed in as 1,Friends online:');
});

test('useEcho', LIMIT, async () => {
	const [ana, bia] = [await open('/Compose'), await open('/Compose', BIA)];
	await joined('news', 2);
	await ana.click('button');
	await shows(bia, 'li', 'Extra!');
	await send('news', 'App\\Events\\NewsPublished', { title: 'later' });
	await shows(ana, 'li', 'Extra!,later');
});

test('the development build finds the server by the environment variables too', LIMIT, async () => {
	const port = await freePort();
	const vite = await createServer({ ...viteOptions(folder.path), server: { port, host: '127.0.0.1' } });
	try {
		await vite.listen();
		// Vite may reload the page once it has prebundled its dependencies.
		const page = await open('/Indicator', ANA, `http://127.0.0.1:${port}`);
		await shows(page, 'p', 'Online');
		await page.close();
	} finally {
		await vite.close();
	}
});

test('undeclared events do not type-check, and the examples do', LIMIT, async () => {
	const errors = await typeErrors(folder.path, 'Wrong.vue');
	assert.equal(errors.length, 3, errors.join('\n'));
	for (const [i, what] of ['OrderSent', 'carier', 'number'].entries()) {
		assert.ok(errors[i].startsWith('src/Wrong.vue') && errors[i].includes(what), errors[i]);
	}
});

test('the package contains only its own files and can be imported on a server', async () => {
	assert.deepEqual(packed.files.filter((path) => !/^dist\/(\w+\/)?\w+\.d\.ts$/.test(path)), [
		'LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'README.pt-BR.md', 'dist/index.js', 'package.json',
	]);
	const script = 'import("@clarim/vue").then((all) => console.log(typeof all.useChannel))';
	const { stdout } = await promisify(execFile)(process.execPath, ['-e', script], { cwd: folder.path });
	assert.equal(stdout.trim(), 'function');
});

test('every example has been run, and both READMEs have the same examples', () => {
	assert.deepEqual([...opened].sort(), examples().map(({ name }) => name).sort());
	assert.deepEqual(blocks('README.pt-BR.md'), blocks('README.md'));
});
