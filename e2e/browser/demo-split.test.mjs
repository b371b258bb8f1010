// The demo in parts, by its environment alone: web, worker and scheduler, `clarim start`, Redis, PostgreSQL.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { isServing, startPart } from '../support/demo.mjs';
import { folder, run } from '../support/programs.mjs';
import { freePort, startServer } from '../support/server.mjs';
import { startPostgres, startRedis } from '../support/stores.mjs';
import { connection, logIn } from './demo.mjs';
import { Browser, waitFor } from './support.mjs';

const LIMIT = { timeout: 60_000 };
const made = [];
let browser;
let clarim;
let postgres;
let url;
let env;
let dir;
let worker;

/** To be taken down at the end, the last first. */
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
		DATABASE_URL: postgres.url,
		QUEUE_CONNECTION: 'redis',
		REDIS_URL: redis.url,
		BROADCAST_CONNECTION: 'reverb',
		REVERB_APP_ID: clarim.appId,
		REVERB_APP_KEY: clarim.key,
		REVERB_APP_SECRET: clarim.secret,
		REVERB_HOST: '127.0.0.1',
		REVERB_PORT: String(clarim.port),
		// As pages reach it
		VITE_REVERB_HOST: 'localhost',
		VITE_REVERB_PORT: String(clarim.port),
		VITE_REVERB_SCHEME: 'http',
	};
	const web = keep(startPart(dir, { ...env, RUN: 'web' }), (it) => it.stop());
	await isServing(url, web);
	worker = keep(startPart(dir, { ...env, RUN: 'worker' }), (it) => it.stop());
	keep(startPart(dir, { ...env, RUN: 'scheduler' }), (it) => it.stop());
}, { timeout: 60_000 });

after(async () => {
	for (const end of made.reverse()) await end();
});

afterEach(() => browser.endTest());

const texts = (page) => page.locator('.message .body').allInnerTexts();

async function write(page, text) {
	await page.locator('.composer').fill(text);
	await page.locator('.composer').press('Enter');
}

test('a message goes from browser to browser through all of them', LIMIT, async () => {
	const [ana, bruno] = [await logIn(browser, url, 'ana'), await logIn(browser, url, 'bruno')];
	for (const page of [ana, bruno]) await page.goto(`${url}/chat/2`);
	await ana.locator('.composer').waitFor();
	await write(ana, 'Olá, @bruno');
	await waitFor('the message', async () => (await texts(bruno)).join() === 'Olá, @bruno');
	// Pushed, or in what the page has asked for: it was opened a moment ago.
	await bruno.locator('a[href="/notifications"]').getByText('1 notificação não lida').waitFor({ state: 'attached' });
	assert.equal(await connection(bruno), 'Online');
	const { stdout } = await run('psql', ['-At', '-c', 'SELECT body FROM messages', postgres.url]);
	assert.equal(stdout.trim(), 'Olá, @bruno');
	const policy = (await (await fetch(url)).headers.get('content-security-policy'));
	assert.ok(policy.includes(`ws://localhost:${clarim.port}`), policy);
});

test('while no worker runs, events wait, and arrive in their order', LIMIT, async () => {
	const [ana, bruno] = [await logIn(browser, url, 'ana'), await logIn(browser, url, 'bruno')];
	for (const page of [ana, bruno]) await page.goto(`${url}/chat/2`);
	await waitFor('the history', async () => (await texts(bruno)).length === 1);
	await waitFor('the connection', async () => await connection(bruno) === 'Online');
	await worker.stop();
	for (const text of ['um', 'dois', 'três']) await write(ana, text);
	await waitFor('that they are stored', async () => await ana.locator('.message[data-draft]').count() === 0
		&& (await texts(ana)).length === 4);
	assert.equal((await texts(bruno)).length, 1);
	worker = keep(startPart(dir, { ...env, RUN: 'worker' }), (it) => it.stop());
	await waitFor('all', async () => (await texts(bruno)).join() === 'Olá, @bruno,um,dois,três');
});
