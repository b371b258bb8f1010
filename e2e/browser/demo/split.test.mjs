// The demo as separate processes, by environment variables alone: web, worker, scheduler, `clarim start`,
// Redis and PostgreSQL.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { isServing, startPart } from '../../support/demo.mjs';
import { folder, run } from '../../support/programs.mjs';
import { freePort } from '../../support/ports.mjs';
import { startServer } from '../../support/server.mjs';
import { startPostgres, startRedis } from '../../support/stores.mjs';
import { connected, connection, logIn, request, text, toEnd } from './demo.mjs';
import { Browser, waitFor } from '../support.mjs';

const LIMIT = { timeout: 300_000 };
const made = [];
let browser;
let clarim;
let postgres;
let url;
let env;
let dir;
let web;
let worker;

/** Registers a teardown. Teardowns run in reverse order. */
function keep(what, end) {
	made.push(() => end(what));
	return what;
}

before(async () => {
	dir = keep(await folder(), (it) => it.remove());
	[clarim, postgres, browser] = await Promise.all([startServer(), startPostgres(), Browser.launch()]);
	keep(clarim, (it) => it.dispose());
	keep(postgres, (it) => it.stop());
	keep(browser, (it) => it.close());
	const redis = keep(await startRedis(), (it) => it.stop());
	const port = await freePort();
	url = `http://localhost:${port}`;
	env = {
		ADDRESS: `127.0.0.1:${port}`,
		RUST_LOG: 'warn',
		METRICS_SECONDS: '1',
		SEED: 'pt-BR',
		DATABASE_URL: postgres.url,
		QUEUE_CONNECTION: 'redis',
		REDIS_URL: redis.url,
		BROADCAST_CONNECTION: 'reverb',
		REVERB_APP_ID: clarim.appId,
		REVERB_APP_KEY: clarim.key,
		REVERB_APP_SECRET: clarim.secret,
		REVERB_HOST: '127.0.0.1',
		REVERB_PORT: String(clarim.port),
		// The address for pages.
		VITE_REVERB_HOST: 'localhost',
		VITE_REVERB_PORT: String(clarim.port),
		VITE_REVERB_SCHEME: 'http',
	};
	web = keep(startPart(dir, { ...env, RUN: 'web' }), (it) => it.stop());
	await isServing(url, web);
	worker = keep(startPart(dir, { ...env, RUN: 'worker' }), (it) => it.stop());
	keep(startPart(dir, { ...env, RUN: 'scheduler' }), (it) => it.stop());
}, { timeout: 300_000 });

after(async () => {
	for (const end of made.reverse()) await end();
});

afterEach(() => browser.endTest());

const texts = (page) => page.locator('.message .body').allInnerTexts();

/** The rows of a query to PostgreSQL. */
async function stored(query) {
	const { stdout } = await run('psql', ['-At', '-c', query, postgres.url]);
	return stdout.trim().split('\n');
}

async function write(page, text) {
	await page.locator('.composer').fill(text);
	await page.locator('.composer').press('Enter');
}

test('content and averages of metrics come from PostgreSQL too', LIMIT, async () => {
	const ana = await logIn(browser, url, 'ana');
	await ana.goto(`${url}/chat/1`);
	await ana.locator('.message').nth(8).waitFor();
	assert.deepEqual(await stored('SELECT COUNT(*) FROM users'), ['3']);
	assert.deepEqual(await stored('SELECT COUNT(*) FROM messages WHERE conversation_id = 1'), ['9']);
	for (const range of [300, 86_400]) {
		const { status, body } = await request(ana, 'GET', `/api/metrics?range=${range}`);
		assert.equal(status, 200);
		assert.ok(body.samples.length > 5, `${body.samples.length} samples`);
	}
});

test('a message passes through all processes from browser to browser', LIMIT, async () => {
	const [ana, bruno] = [await logIn(browser, url, 'ana'), await logIn(browser, url, 'bruno')];
	for (const page of [ana, bruno]) await page.goto(`${url}/chat/2`);
	await ana.locator('.composer').waitFor();
	await write(ana, 'Olá, @bruno');
	await waitFor('the message', async () => (await texts(bruno)).at(-1) === 'Olá, @bruno');
	// Three are from the first run. It is read at once where he is, so the counter tells nothing.
	await waitFor('the notification', async () => (await stored("SELECT COUNT(*) FROM notifications WHERE notifiable_id = '2'"))[0] === '4');
	assert.equal(await connection(bruno), 'Online');
	assert.deepEqual(await stored('SELECT body FROM messages ORDER BY sent_at DESC LIMIT 1'), ['Olá, @bruno']);
	// So does a change of it.
	const last = (page) => page.locator('.message').last();
	await last(bruno).hover();
	await last(bruno).getByRole('button', { name: 'Reagir' }).click();
	await bruno.getByRole('menuitem', { name: '👍' }).click();
	await waitFor('the reaction', async () => (await last(ana).locator('.reactions .count').allInnerTexts()).join() === '👍 1');
	const policy = (await (await fetch(url)).headers.get('content-security-policy'));
	assert.ok(policy.includes(`ws://localhost:${clarim.port}`), policy);
});

test('events wait while no worker runs, and arrive in order', LIMIT, async () => {
	const [ana, bruno] = [await logIn(browser, url, 'ana'), await logIn(browser, url, 'bruno')];
	for (const page of [ana, bruno]) await page.goto(`${url}/chat/2`);
	await waitFor('the history', async () => (await texts(bruno)).length === 4);
	await waitFor('the connection', async () => await connection(bruno) === 'Online');
	await worker.stop();
	for (const text of ['um', 'dois', 'três']) await write(ana, text);
	await waitFor('them to be stored', async () => await ana.locator('.message[data-draft]').count() === 0
		&& (await texts(ana)).length === 7);
	assert.equal((await texts(bruno)).length, 4);
	worker = keep(startPart(dir, { ...env, RUN: 'worker' }), (it) => it.stop());
	await waitFor('all', async () => (await texts(bruno)).slice(-4).join() === 'Olá, @bruno,um,dois,três');
});

test('online and typing users are shown to others', LIMIT, async () => {
	const [ana, bruno] = [await logIn(browser, url, 'ana'), await logIn(browser, url, 'bruno')];
	for (const page of [ana, bruno]) {
		await page.goto(`${url}/chat/2`);
		await page.locator('.composer').waitFor();
		await connected(page);
	}
	const names = () => ana.locator('.online .name').allInnerTexts();
	await waitFor('him', async () => (await names()).join() === 'Bruno Lima');
	await waitFor('the whisper', async () => {
		await bruno.locator('.composer').pressSequentially('o');
		return ana.locator('.typing').isVisible();
	});
	assert.equal(await ana.locator('.typing').innerText(), 'Bruno está digitando…');
	await bruno.context().close();
	await waitFor('him to leave', async () => (await names()).length === 0);
	await ana.locator('.typing').waitFor({ state: 'detached' });
});

test('the scheduler’s measurements are pushed to the dashboard and trigger limit notifications', LIMIT, async () => {
	const ana = await logIn(browser, url, 'ana');
	const pushed = [];
	ana.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => {
		if (String(payload).includes('MetricsUpdated')) pushed.push(JSON.parse(JSON.parse(payload).data).sample);
	}));
	await ana.goto(`${url}/dashboard`);
	await connected(ana);
	const card = ana.locator('[data-metric=memory]');
	await card.waitFor();
	await waitFor('two pushed', () => pushed.length >= 2);
	const rows = () => card.locator('tbody td:last-child').allTextContents();
	const shown = (value) => new Intl.NumberFormat('pt-BR', { maximumFractionDigits: 1 }).format(value);
	// One more measurement may have arrived.
	await waitFor('the last one on the screen', async () => {
		const texts = await rows();
		return texts.slice(0, 2).some((text) => text.startsWith(shown(pushed.at(-1).memory)));
	});
	assert.ok((await stored('SELECT at FROM metrics')).includes(String(pushed[0].at)), 'by another process, in the same database');
	// The server runs in another process here.
	await ana.locator('[data-metric=connections]').getByText('O servidor Clarim roda em outro processo').waitFor();

	const second = await ana.context().newPage();
	await second.goto(`${url}/chat`);
	await connected(second);
	await card.getByLabel('Avisar acima de').fill('1');
	await card.getByRole('button', { name: 'Salvar limite' }).click();
	// Noticed by the scheduler, sent by the worker.
	await second.locator('.toast').getByText('Memória acima do limite').waitFor();
	await card.getByText('Acima do limite', { exact: true }).waitFor();
	const notifications = (await request(ana, 'GET', '/api/notifications')).body.filter(({ type }) => type.endsWith('LimitCrossed'));
	assert.equal(notifications.length, 1);
	assert.equal(notifications[0].data.metric, 'memory');
});

test('a document edited by two users is stored in PostgreSQL and survives a restart of the web process', LIMIT, async () => {
	const [ana, bruno] = [await logIn(browser, url, 'ana'), await logIn(browser, url, 'bruno')];
	const reads = (page, what) => waitFor(`${what} in the document`, async () => (await text(page).innerText()).includes(what));
	for (const page of [ana, bruno]) {
		await page.goto(`${url}/editor/1`);
		await text(page).waitFor();
		await connected(page);
	}
	for (const [page, what] of [[ana, 'Guardado no PostgreSQL.'], [bruno, 'Por duas pessoas.']]) {
		await toEnd(page);
		await page.keyboard.insertText(what);
		for (const one of [ana, bruno]) await reads(one, what);
		await page.locator('.save-state[data-state=saved]').waitFor();
	}
	const updates = await stored('SELECT author_id, data FROM document_updates WHERE document_id = 1 ORDER BY seq');
	const has = (author, what) => updates.some((line) => {
		const [who, data] = line.split('|');
		return who === author && Buffer.from(data, 'base64').includes(what);
	});
	assert.ok(has('1', 'Guardado no PostgreSQL.') && has('2', 'Por duas pessoas.'), updates.join('\n'));

	await Promise.all([ana, bruno].map((page) => page.context().close()));
	await web.stop();
	web = keep(startPart(dir, { ...env, RUN: 'web' }), (it) => it.stop());
	await isServing(url, web);
	const carla = await logIn(browser, url, 'carla');
	await carla.goto(`${url}/editor/1`);
	await text(carla).waitFor();
	for (const what of ['Guardado no PostgreSQL.', 'Por duas pessoas.']) await reads(carla, what);
});
