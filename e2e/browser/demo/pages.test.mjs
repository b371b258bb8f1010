// The demo's appearance and accessibility: both languages, light and dark, small and large.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { startDemo } from '../../support/demo.mjs';
import { accessible, connected, fits, logIn, painted, reconnected, request, shot, token } from './demo.mjs';
import { Browser, waitFor } from '../support.mjs';

const LIMIT = { timeout: 300_000 };
const SIZES = { narrow: { width: 360, height: 740 }, wide: { width: 1280, height: 800 } };
const PAGES = ['/chat', '/chat/1', '/chat/2', '/chat/3', '/notifications', '/dashboard', '/editor', '/editor/1', '/nowhere'];
let demo;
let browser;

before(async () => {
	[demo, browser] = await Promise.all([startDemo(), Browser.launch()]);
	await fill();
}, { timeout: 300_000 });

after(async () => {
	await browser?.close();
	await demo?.dispose();
});

afterEach(() => browser.endTest());

/** Creates messages and notifications to show. */
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

/** Waits until nothing on the page is loading. */
async function settled(page) {
	await page.locator('main h1:visible, main h2:visible').first().waitFor();
	await waitFor('the page', async () => await page.locator('[aria-busy=true], .animate-pulse').count() === 0);
}

test('the login page is accessible and refuses wrong credentials', LIMIT, async () => {
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
		test(`${size}, ${colorScheme}: each page is accessible`, LIMIT, async () => {
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

test('the chosen language and theme are kept', LIMIT, async () => {
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
		await waitFor('the title', async () => (await page.title()).endsWith('Chat · Clarim'));
	}
	await choose('System');
	assert.equal(await root.getAttribute('data-theme'), 'light');
});

test('the demo can be used with the keyboard alone', LIMIT, async () => {
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
	assert.ok((await focused()).includes('composer'), 'the focus stays in the composer');
});

test('pages show that they are loading, and that loading has failed', LIMIT, async () => {
	browser.expect(/500/);
	const page = await logIn(browser, demo.url, 'ana');
	for (const [path, request_, name] of [
		['/chat/1', '**/api/conversations/1/messages', 'messages'], ['/notifications', '**/api/notifications', 'notifications'],
		['/chat', '**/api/conversations', 'conversations'], ['/editor', '**/api/documents', 'documents'],
	]) {
		let answer;
		const held = new Promise((resolve) => { answer = resolve; });
		await page.route(request_, async (route) => {
			await held;
			await route.fulfill({ status: 500, json: { code: 'broken' } });
		});
		await page.goto(demo.url + path);
		await page.locator('.animate-pulse').first().waitFor();
		await accessible(page, `${name}: while it is loaded`);
		await shot(page, `${name}-loading`);
		answer();
		const alert = page.getByRole('alert').filter({ hasText: 'Não foi possível carregar' });
		await alert.waitFor();
		await accessible(page, `${name}: the error`);
		await shot(page, `${name}-error`);
		await page.unroute(request_);
		// It is gone if a subscription that came late has loaded the list.
		const again = alert.getByRole('button', { name: 'Tentar de novo' });
		await waitFor('no error', async () => {
			await again.click({ timeout: 1_000 }).catch(() => {});
			return await alert.count() === 0;
		});
		await settled(page);
	}
});

test('empty pages explain what will appear there', LIMIT, async () => {
	for (const [locale, texts] of [
		['pt-BR', { documents: 'Nenhum documento', messages: 'Nenhuma mensagem ainda', choose: 'Escolha uma conversa', notifications: 'Nada por aqui' }],
		['en-GB', { documents: 'No documents', messages: 'No messages yet', choose: 'Choose a conversation', notifications: 'Nothing here' }],
	]) {
		const page = await logIn(browser, demo.url, 'ana', { locale });
		await page.route('**/api/documents', (route) => route.fulfill({ json: [] }));
		await page.route('**/api/notifications', (route) => route.fulfill({ json: [] }));
		for (const [path, text] of [
			['/editor', texts.documents], ['/chat/2', texts.messages], ['/chat', texts.choose], ['/notifications', texts.notifications],
		]) {
			await page.goto(demo.url + path);
			await page.getByRole('heading', { name: text }).waitFor();
			await accessible(page, `${path}: empty`);
		}
	}
});

test('an expired session leads to the login and back', LIMIT, async () => {
	browser.expect(/401|419|403/);
	const page = await logIn(browser, demo.url, 'ana');
	await page.goto(`${demo.url}/chat/2`);
	await connected(page);
	await settled(page);
	await page.waitForLoadState('networkidle');
	await page.context().clearCookies();
	await page.locator('.composer').fill('tarde demais');
	await page.locator('.composer').press('Enter');
	await page.waitForURL('**/login?expired&next=*');
	await page.getByRole('alert').getByText('A sessão expirou. Entre de novo.').waitFor();
	await accessible(page, 'the expired session');
	await page.getByRole('button', { name: 'Ana', exact: true }).click();
	// Back to where she was, with the unsent message.
	await page.waitForURL(`${demo.url}/chat/2`);
	await connected(page);
	await page.locator('.message:not([data-draft])').getByText('tarde demais').waitFor();
});

test('between phone and desktop, conversations and documents have room', LIMIT, async () => {
	const page = await logIn(browser, demo.url, 'ana');
	const width = (locator) => locator.evaluate((one) => one.getBoundingClientRect().width);
	for (const size of [600, 767, 768, 900, 1023, 1024, 1100]) {
		await page.setViewportSize({ width: size, height: 800 });
		await page.goto(`${demo.url}/chat/1`);
		await page.locator('.message').first().waitFor();
		assert.ok(await width(page.getByRole('log')) >= 420, `${size} px: the conversation has ${await width(page.getByRole('log'))} px`);
		await fits(page, `/chat/1, ${size} px`);
		await page.goto(`${demo.url}/editor/1`);
		await page.locator('.document-text').waitFor();
		assert.ok(await width(page.locator('.document-text')) >= 420, `${size} px: the text has ${await width(page.locator('.document-text'))} px`);
		await fits(page, `/editor/1, ${size} px`);
		await accessible(page, `/editor/1, ${size} px`);
		// The list is one click away.
		if (size < 1024) await page.getByRole('link', { name: 'Documentos' }).click();
		await page.locator('.document').first().waitFor();
	}
});

test('each page shows at once that the browser is offline', LIMIT, async () => {
	browser.expect(/ERR_INTERNET_DISCONNECTED|WebSocket connection/);
	const page = await logIn(browser, demo.url, 'ana');
	const NOTES = {
		'/chat/1': 'Sem conexão. As mensagens', '/notifications': 'Sem conexão. As novas', '/dashboard': 'Sem conexão. Quando', '/editor/1': 'Sem conexão',
	};
	for (const [path, text] of Object.entries(NOTES)) {
		await page.goto(demo.url + path);
		await connected(page);
		await settled(page);
		await page.evaluate(() => {
			addEventListener('offline', () => {
				const began = performance.now();
				const look = () => {
					if (document.querySelector('.connection').textContent === 'Offline') window.took = performance.now() - began;
					else setTimeout(look, 20);
				};
				look();
			});
		});
		let took;
		// On a busy machine, it may be late once.
		for (let time = 0; time < 3 && !(took < 2000); time += 1) {
			await page.evaluate(() => { window.took = undefined; });
			await page.context().setOffline(true);
			took = await waitFor(`${path}: offline`, () => page.evaluate(() => window.took));
			await page.getByText(text).first().waitFor();
			await page.context().setOffline(false);
			await reconnected(page);
		}
		// Users see it before they go on.
		assert.ok(took < 2000, `${path}: after ${took} ms`);
	}
});

test('an offline event means nothing while the server answers', LIMIT, async () => {
	const page = await logIn(browser, demo.url, 'ana');
	const answers = [];
	page.on('response', (answer) => { if (answer.url().endsWith('/api/time')) answers.push(answer.status()); });
	await page.evaluate(() => {
		Object.defineProperty(navigator, 'onLine', { get: () => false });
		dispatchEvent(new Event('offline'));
	});
	await waitFor('the heartbeats', () => answers.length === 4);
	assert.deepEqual(answers, [200, 200, 200, 200]);
	assert.equal(await page.locator('.connection').innerText(), 'Online');
});

test('text has the direction of its language', LIMIT, async () => {
	const page = await logIn(browser, demo.url, 'ana');
	await page.goto(`${demo.url}/chat/4`);
	await page.locator('.composer').fill('שלום עולם');
	assert.equal(await page.locator('.composer').evaluate((one) => getComputedStyle(one).direction), 'rtl');
	await page.locator('.composer').press('Enter');
	const body = page.locator('.message:not([data-draft]) .body').getByText('שלום עולם');
	await body.waitFor();
	assert.equal(await body.evaluate((one) => getComputedStyle(one).direction), 'rtl');
	const other = page.locator('.message .body').first();
	assert.equal(await other.evaluate((one) => getComputedStyle(one).direction), 'ltr');
});

test('labels for screen readers are in the language of the page', LIMIT, async () => {
	for (const [locale, other] of [['pt-BR', /\b(notifications?|close|main|message|open|dismiss|region|toolbar)\b/i], ['en-GB', /\b(avisos|fechar|mensagem|conversas?|abrir|notifica..es)\b/i]]) {
		const page = await logIn(browser, demo.url, 'ana', { locale });
		for (const path of ['/chat/1', '/notifications', '/dashboard', '/editor/1']) {
			await page.goto(demo.url + path);
			await connected(page);
			await settled(page);
			const labels = await page.evaluate(() => [...document.querySelectorAll('[aria-label], [title], [alt]')]
				.flatMap((one) => ['aria-label', 'title', 'alt'].map((name) => one.getAttribute(name) ?? '')).filter(Boolean));
			assert.ok(labels.length > 3, path);
			assert.deepEqual(labels.filter((label) => other.test(label)), [], `${path}, ${locale}`);
		}
	}
});

test('a second person logs in beside the first', LIMIT, async () => {
	const ana = await logIn(browser, demo.url, 'ana');
	const guest = await ana.context().newPage();
	// The login page of the same machine under its other name, as its link opens it.
	const login = await browser.context({ locale: 'pt-BR' }).then((context) => context.newPage());
	await login.goto(`${demo.url}/login`);
	const link = login.locator('a.second');
	await link.waitFor();
	assert.equal(await link.innerText(), 'entrar como Bruno em outra janela');
	await guest.goto(await link.getAttribute('href'));
	await guest.locator('button[type=submit]:focus').waitFor();
	await guest.keyboard.press('Enter');
	await guest.waitForURL((url) => url.pathname !== '/login');
	await connected(guest);
	assert.equal((await request(guest, 'GET', '/api/session')).body.user.login, 'bruno');
	await ana.reload();
	assert.equal((await request(ana, 'GET', '/api/session')).body.user.login, 'ana', 'she is still logged in');
});

test('a refused message stays and can be sent again or discarded', LIMIT, async () => {
	browser.expect(/422/);
	const page = await logIn(browser, demo.url, 'ana');
	await page.goto(`${demo.url}/chat/4`);
	await page.locator('.message').first().waitFor();
	const refuse = (route) => (route.request().method() === 'POST'
		? route.fulfill({ status: 422, json: { code: 'too_long', field: 'body' } }) : route.continue());
	await page.route('**/messages', refuse);
	const drafts = page.locator('.message[data-draft]');
	for (const text of ['de novo', 'para fora']) {
		await page.locator('.composer').fill(text);
		await page.locator('.composer').press('Enter');
		await drafts.filter({ hasText: text }).getByRole('alert').getByText('Não enviada.').waitFor();
	}
	await accessible(page, 'refused messages');
	await shot(page, 'chat-refused');
	await drafts.filter({ hasText: 'para fora' }).getByRole('button', { name: 'Descartar' }).click();
	await waitFor('one', async () => await drafts.count() === 1);
	await page.unroute('**/messages', refuse);
	await drafts.getByRole('button', { name: 'Tentar de novo' }).click();
	await page.locator('.message:not([data-draft])').getByText('de novo', { exact: true }).waitFor();
	assert.equal(await drafts.count(), 0);
	assert.equal(await page.getByText('para fora').count(), 0);
});

for (const [size, viewport] of Object.entries(SIZES)) {
	test(`${size}: pages load soon and without layout shifts`, LIMIT, async () => {
		browser.expect(/403/);
		const page = await logIn(browser, demo.url, 'ana', { viewport });
		for (const path of PAGES) {
			let largest;
			// On a busy machine, one load may be slow.
			for (let load = 0; load < 3 && !(largest < 2500); load += 1) {
				await page.goto(demo.url + path);
				await connected(page);
				await settled(page);
				const seen = await painted(page);
				({ largest } = seen);
				assert.ok(seen.shift < 0.1, `${path}: the cumulative layout shift is ${seen.shift}`);
			}
			assert.ok(largest > 0 && largest < 2500, `${path}: the largest part is painted after ${largest} ms`);
		}
	});
}

test('assets are small, compressed and cached', LIMIT, async () => {
	/**
	 * The maximum of compressed JavaScript per page, in KiB. The editor's own is loaded with a document only.
	 */
	const MOST = { '/login': 130, '/chat/1': 200, '/notifications': 200, '/dashboard': 220, '/editor': 220, '/editor/1': 360 };
	const user = await logIn(browser, demo.url, 'ana');
	const { cookies } = await user.context().storageState();
	for (const [path, most] of Object.entries(MOST)) {
		const context = await browser.context({ locale: 'pt-BR' });
		if (path !== '/login') await context.addCookies(cookies);
		const page = await context.newPage();
		const answers = [];
		page.on('response', (one) => answers.push(one));
		await page.goto(demo.url + path);
		if (path === '/login') await page.locator('form button').waitFor();
		else await settled(page);
		assert.equal(await page.locator('html').getAttribute('lang'), 'pt-BR', path);
		assert.match(await page.locator('meta[name=viewport]').getAttribute('content'), /width=device-width/);
		assert.ok((await page.locator('meta[name=description]').getAttribute('content')).length > 40);
		assert.ok(await page.title());
		const assets = answers.filter((one) => new URL(one.url()).pathname.startsWith('/assets/'));
		assert.ok(assets.length > 2, `${path}: ${assets.length} assets`);
		for (const one of assets) {
			assert.equal(one.headers()['cache-control'], 'public, max-age=31536000, immutable', one.url());
			// Very small files are not worth it.
			const { length } = await one.body();
			if (length > 1000) assert.equal(one.headers()['content-encoding'], 'gzip', one.url());
		}
		const script = await page.evaluate(() => performance.getEntriesByType('resource')
			.filter(({ name }) => name.endsWith('.js')).reduce((sum, { encodedBodySize: size }) => sum + size, 0) / 1024);
		assert.ok(script > 50 && script < most, `${path}: ${script} KiB of JavaScript`);
		// On a reload all assets come from the browser's cache.
		await page.reload();
		if (path !== '/login') await settled(page);
		const fetched = await page.evaluate(() => performance.getEntriesByType('resource')
			.filter(({ name, transferSize: size }) => name.includes('/assets/') && size > 0).map(({ name }) => name));
		assert.deepEqual(fetched, [], path);
		await context.close();
	}
});
