// How the demo looks and who can use it: both languages, light and dark, small and large.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { startDemo } from '../support/demo.mjs';
import { accessible, connected, fits, logIn, request, shot, token } from './demo.mjs';
import { Browser, waitFor } from './support.mjs';

const LIMIT = { timeout: 120_000 };
const SIZES = { narrow: { width: 360, height: 740 }, wide: { width: 1280, height: 800 } };
const PAGES = ['/chat', '/chat/1', '/chat/2', '/chat/3', '/notifications', '/nowhere'];
let demo;
let browser;

before(async () => {
	[demo, browser] = await Promise.all([startDemo(), Browser.launch()]);
	await fill();
}, { timeout: 60_000 });

after(async () => {
	await browser?.close();
	await demo?.dispose();
});

afterEach(() => browser.endTest());

/** Something to look at. */
async function fill() {
	const pages = {};
	for (const login of ['ana', 'bruno', 'carla']) pages[login] = await logIn(browser, demo.url, login);
	const say = async (login, conversation, body) => {
		const page = pages[login];
		await request(page, 'POST', `/api/conversations/${conversation}/messages`,
			{ id: crypto.randomUUID(), body }, { 'X-CSRF-TOKEN': await token(page) });
	};
	await say('bruno', 1, 'Bom dia! O painel novo está no ar.');
	await say('carla', 1, 'Que ótimo. Vou olhar agora.');
	await say('carla', 1, 'Os números de hoje parecem bons: R$ 12.480,00 até as 10h.');
	await say('ana', 1, 'Obrigada! @bruno, você consegue mandar o endereço para o cliente? Ele perguntou de novo ontem.');
	await say('bruno', 1, 'Claro, mando já.\nE marco a reunião para quinta.');
	await say('bruno', 1, '@ana, feito ✓');
	await say('carla', 4, 'Você viu o documento?');
	const headers = { 'X-CSRF-TOKEN': await token(pages.carla) };
	await request(pages.carla, 'POST', '/api/notifications', { to: 1, text: 'A reunião começou!' }, headers);
}

/** Each is whole when nothing is being loaded any more. */
async function settled(page) {
	await page.locator('main h1:visible, main h2:visible').first().waitFor();
	await waitFor('the page', async () => await page.locator('[aria-busy=true], .animate-pulse').count() === 0);
}

test('the login', LIMIT, async () => {
	browser.expect(/422/);
	for (const [name, viewport] of Object.entries(SIZES)) {
		for (const colorScheme of ['light', 'dark']) {
			const context = await browser.context({ locale: 'pt-BR', viewport, colorScheme });
			const page = await context.newPage();
			await page.goto(demo.url);
			await page.locator('input[name=login]').fill('ana');
			await page.locator('input[name=password]').fill('errada');
			await page.locator('form button').click();
			await page.getByRole('alert').getByText('Usuário ou senha incorretos.').waitFor();
			await accessible(page, `login, ${colorScheme}`);
			await fits(page, `login, ${name}`);
			await shot(page, `login-${name}-${colorScheme}`);
			await context.close();
		}
	}
});

for (const [size, viewport] of Object.entries(SIZES)) {
	for (const colorScheme of ['light', 'dark']) {
		test(`${size}, ${colorScheme}: each page can be used by everybody`, LIMIT, async () => {
			browser.expect(/403/);
			const locale = colorScheme === 'light' ? 'pt-BR' : 'en-GB';
			const page = await logIn(browser, demo.url, 'ana', { viewport, colorScheme, locale });
			for (const path of PAGES) {
				await page.goto(demo.url + path);
				await connected(page);
				await settled(page);
				await accessible(page, `${path}, ${colorScheme}, ${size}`);
				await fits(page, `${path}, ${size}`);
				await shot(page, `${path.slice(1).replace('/', '-')}-${size}-${colorScheme}`);
			}
			await page.setViewportSize({ width: 320, height: 640 });
			for (const path of PAGES) {
				await page.goto(demo.url + path);
				await connected(page);
				await settled(page);
				await fits(page, `${path}, 320 px`);
			}
		});
	}
}

test('language and theme are chosen, and stay', LIMIT, async () => {
	const page = await logIn(browser, demo.url, 'ana');
	const choose = async (name) => {
		await page.getByRole('button', { name: /Ana Souza/ }).click();
		await page.getByRole('menuitemradio', { name, exact: true }).click();
	};
	const root = page.locator('html');
	assert.equal(await page.locator('h1').innerText(), 'Conversas');
	await page.getByRole('button', { name: /Ana Souza/ }).click();
	await page.getByRole('menu').waitFor();
	await accessible(page, 'the menu');
	await shot(page, 'menu');
	await page.keyboard.press('Escape');
	await choose('English');
	await choose('Dark');
	for (const again of [false, true]) {
		if (again) await page.reload();
		await page.getByRole('heading', { name: 'Chat' }).waitFor();
		assert.deepEqual([await root.getAttribute('lang'), await root.getAttribute('data-theme')], ['en', 'dark']);
		await waitFor('the title', async () => await page.title() === 'Chat · Clarim');
	}
	await choose('System');
	assert.equal(await root.getAttribute('data-theme'), 'light');
});

test('the keyboard is enough', LIMIT, async () => {
	const page = await logIn(browser, demo.url, 'ana');
	await page.goto(`${demo.url}/chat/1`);
	await page.locator('.message').first().waitFor();
	await page.keyboard.press('Tab');
	assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Ir para o conteúdo');
	await page.keyboard.press('Enter');
	const focused = () => page.evaluate(() => document.activeElement.className);
	for (let left = 12; !(await focused()).includes('composer'); left -= 1) {
		assert.ok(left > 0, 'the composer is reached');
		await page.keyboard.press('Tab');
	}
	await page.keyboard.type('Com o teclado');
	await page.keyboard.press('Enter');
	await page.locator('.message').getByText('Com o teclado').waitFor();
	assert.ok((await focused()).includes('composer'), 'one goes on writing');
});

test('while something is loaded, and when it fails, the page says so', LIMIT, async () => {
	browser.expect(/500/);
	const page = await logIn(browser, demo.url, 'ana');
	for (const [path, request_, name] of [
		['/chat/1', '**/api/conversations/1/messages', 'messages'], ['/notifications', '**/api/notifications', 'notifications'],
		['/chat', '**/api/conversations', 'conversations'],
	]) {
		let answer;
		const held = new Promise((resolve) => { answer = resolve; });
		await page.route(request_, async (route) => {
			await held;
			await route.fulfill({ status: 500, json: { code: 'broken' } });
		});
		await page.goto(demo.url + path);
		await page.locator('.animate-pulse').first().waitFor();
		await shot(page, `${name}-loading`);
		answer();
		const alert = page.getByRole('alert').filter({ hasText: 'Não foi possível carregar' });
		await alert.waitFor();
		await accessible(page, `${name}: the error`);
		await shot(page, `${name}-error`);
		await page.unroute(request_);
		await alert.getByRole('button', { name: 'Tentar de novo' }).click();
		await settled(page);
		await waitFor('no error', async () => await alert.count() === 0);
	}
});

test('nothing moves while a page fills', LIMIT, async () => {
	const page = await logIn(browser, demo.url, 'ana', { viewport: SIZES.wide });
	for (const path of ['/chat/1', '/notifications']) {
		await page.goto(demo.url + path);
		await settled(page);
		const shift = await page.evaluate(() => new Promise((resolve) => {
			let sum = 0;
			new PerformanceObserver((list) => {
				for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
			}).observe({ type: 'layout-shift', buffered: true });
			requestAnimationFrame(() => requestAnimationFrame(() => resolve(sum)));
		}));
		assert.ok(shift < 0.1, `${path}: the cumulative layout shift is ${shift}`);
	}
});
