// Makes a screenshot of each page and state, to be looked at:
//   node e2e/pictures/screenshots.mjs [FOLDER] [FILTER]
// Each of them for desktop, tablet and phone, light and dark, in both languages. FILTER is a regular expression for
// file names, as in `chat.*phone-dark`.

import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { startDemo } from '../support/demo.mjs';
import { startServer } from '../support/server.mjs';
import { connected, logIn } from '../browser/demo/demo.mjs';
import { TOKEN, enter, id, tab } from '../browser/inspector.mjs';
import { artefacts, Browser, waitFor } from '../browser/support.mjs';
import { traffic } from './traffic.mjs';

const [folder = join(artefacts, 'pages'), filter = ''] = process.argv.slice(2);
const wanted = new RegExp(filter);
mkdirSync(folder, { recursive: true });

const SIZES = { desktop: { width: 1280, height: 800 }, tablet: { width: 768, height: 1024 }, phone: { width: 390, height: 844 } };
const THEMES = ['light', 'dark'];
const LANGUAGES = { en: 'en-GB', pt: 'pt-BR' };

const looks = Object.entries(SIZES).flatMap(([size, viewport]) => THEMES.flatMap((colorScheme) =>
	Object.entries(LANGUAGES).map(([language, locale]) => ({ name: `${size}-${colorScheme}-${language}`, options: { viewport, colorScheme, locale } }))));

async function shoot(page, name, fullPage = false) {
	if (!wanted.test(name)) return;
	await page.screenshot({ path: resolve(folder, `${name}.png`), fullPage, animations: 'disabled' });
	console.log(name);
}

const settled = (page) => waitFor('the page', async () => await page.locator('[aria-busy=true], .animate-pulse').count() === 0);

/** States of the demo. Each starts from a page of ana, who has logged in. */
const DEMO = {
	chat: (page) => page.goto('/chat'),
	conversation: (page) => page.goto('/chat/1'),
	'conversation-two': (page) => page.goto('/chat/2'),
	'conversation-refused': (page) => page.goto('/chat/3'),
	async 'conversation-offline'(page) {
		await page.goto('/chat/1');
		await connected(page);
		await page.context().setOffline(true);
		await page.locator('.offline').waitFor();
	},
	notifications: (page) => page.goto('/notifications'),
	async dashboard(page) {
		await page.goto('/dashboard');
		await page.locator('.metric canvas').first().waitFor();
	},
	async 'dashboard-comparison'(page) {
		await page.goto('/dashboard');
		await page.locator('.comparison').scrollIntoViewIfNeeded();
	},
	editor: (page) => page.goto('/editor'),
	async document(page) {
		await page.goto('/editor/1');
		await page.locator('.document-text').click();
	},
	missing: (page) => page.goto('/nowhere'),
	async menu(page) {
		await page.goto('/chat');
		await page.getByRole('button', { name: /Ana Souza/ }).click();
	},
};

async function demoPages(browser) {
	const demos = {};
	for (const language of Object.keys(LANGUAGES)) {
		const demo = await startDemo({ METRICS_SECONDS: '5', SEED: language === 'pt' ? 'pt-BR' : 'en' });
		demos[language] = demo;
	}
	for (const { name, options } of looks) {
		const demo = demos[name.slice(-2)];
		const context = await browser.context({ ...options, baseURL: demo.url });
		const login = await context.newPage();
		await login.goto('/login');
		await login.locator('form button').waitFor();
		await shoot(login, `demo-login-${name}`);
		await context.close();
		const wantedStates = Object.entries(DEMO).filter(([state]) => wanted.test(`demo-${state}-${name}`));
		if (!wantedStates.length) continue;
		const page = await logIn(browser, demo.url, 'ana', { ...options, baseURL: demo.url });
		for (const [state, open] of wantedStates) {
			await open(page);
			if (!state.endsWith('offline')) await connected(page);
			await settled(page);
			await shoot(page, `demo-${state}-${name}`);
			await page.context().setOffline(false);
		}
		await page.context().close();
	}
	for (const demo of Object.values(demos)) await demo.dispose();
}

const INSPECTOR = {
	overview: async (page) => { await page.locator('.graph canvas').first().waitFor(); await page.waitForTimeout(2500); },
	async channels(page) {
		await tab(page, 'channels');
		await page.locator('#channel-list tr').nth(1).waitFor();
	},
	async channel(page) {
		await tab(page, 'channels');
		await page.locator('#channel-list tr').filter({ hasText: 'presence-chat.1' }).getByRole('link').click();
		await id(page, 'channel').waitFor();
		await id(page, 'channel').scrollIntoViewIfNeeded();
	},
	async connections(page) {
		await tab(page, 'connections');
		await page.locator('#connection-list tr').nth(1).waitFor();
	},
	async events(page) {
		await tab(page, 'events');
		await page.locator('#log .event').nth(6).waitFor();
	},
	webhooks: (page) => tab(page, 'webhooks'),
};

async function inspectorPages(browser) {
	const server = await startServer({ env: { CLARIM_INSPECTOR_TOKEN: TOKEN, CLARIM_APP_HISTORY: 'presence-*:100:10m' } });
	const stop = await traffic(server);
	for (const { name, options } of looks) {
		const states = Object.entries(INSPECTOR).filter(([state]) => wanted.test(`inspector-${state}-${name}`));
		if (!states.length && !wanted.test(`inspector-login-${name}`)) continue;
		const guest = await (await browser.context(options)).newPage();
		browser.expect(/401/);
		await guest.goto(`${server.url}/inspector`);
		await id(guest, 'token').waitFor();
		await shoot(guest, `inspector-login-${name}`);
		await guest.context().close();
		const page = await enter(browser, server, options);
		for (const [state, open] of states) {
			await open(page);
			await shoot(page, `inspector-${state}-${name}`);
		}
		await page.context().close();
	}
	stop();
	await server.dispose();
}

async function playgroundPages(browser) {
	const server = await startServer({ development: true });
	for (const { name, options } of looks) {
		if (!wanted.test(`playground-start-${name}`) && !wanted.test(`playground-used-${name}`)) continue;
		const page = await (await browser.context(options)).newPage();
		await page.goto(`${server.url}/playground`);
		await page.locator('.connection[data-state=connected]').waitFor();
		await shoot(page, `playground-start-${name}`, true);
		await page.locator('input[name=kind][value=presence-]').check({ force: true });
		await id(page, 'subscribe').click();
		await page.locator('#subscriptions [data-state=subscribed]').waitFor();
		await id(page, 'send').click();
		await page.locator('.latency').first().waitFor();
		await shoot(page, `playground-used-${name}`, true);
		await page.context().close();
	}
	await server.dispose();
}

const browser = await Browser.launch();
try {
	if (!filter || /demo/.test(filter)) await demoPages(browser);
	if (!filter || /inspector/.test(filter)) await inspectorPages(browser);
	if (!filter || /playground/.test(filter)) await playgroundPages(browser);
} finally {
	await browser.close();
}
