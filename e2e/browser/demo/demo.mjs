// Users of the demo, each in a browser of their own.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import assert from 'node:assert/strict';
import { artefacts, waitFor } from '../support.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Logged in as `login`; `options` are those of Playwright's contexts. */
export async function logIn(browser, site, login, options = {}) {
	const context = await browser.context({ locale: 'pt-BR', ...options });
	const page = await context.newPage();
	await page.goto(`${site}/login`);
	await page.locator('form button').waitFor();
	await page.locator('input[name=login]').fill(login);
	await page.locator('input[name=password]').fill('clarim');
	await page.locator('form button[type=submit]').click();
	await page.waitForURL((url) => url.pathname !== '/login');
	await connected(page);
	return page;
}

/** Another tab of the same user. */
export async function anotherTab(page, path) {
	const tab = await page.context().newPage();
	await tab.goto(new URL(path, page.url()).href);
	await connected(tab);
	return tab;
}

export const connection = (page) => page.locator('.connection').innerText();

export const connected = (page) =>
	waitFor('the connection', async () => await connection(page) === 'Online');

/** pusher-js waits up to 15 s for its next try, unless the browser says that it is online. */
export async function reconnected(page) {
	let asked = Date.now();
	await waitFor('the connection', async () => {
		if (await connection(page) === 'Online') return true;
		if (Date.now() - asked > 1000) {
			await page.evaluate(() => dispatchEvent(new Event('online')));
			asked = Date.now();
		}
		return false;
	}, 20_000);
}

export const disconnected = (page) =>
	waitFor('the lost connection', async () => await connection(page) !== 'Online');

export const shot = (page, name) => page.screenshot({ path: join(artefacts, `demo-${name}.png`) });

/** What axe finds that matters to somebody. */
export async function accessible(page, what) {
	// Colours are those of the end of a transition.
	await page.evaluate(() => Promise.all(document.getAnimations()
		.filter((animation) => animation.effect.getComputedTiming().iterations !== Infinity)
		.map((animation) => animation.finished.catch(() => undefined))));
	// By the debugger, where the page's Content-Security-Policy doesn't apply.
	await page.evaluate(`if (!window.axe) { ${axe} }`);
	const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
	const serious = violations
		.filter(({ impact }) => impact === 'serious' || impact === 'critical')
		.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, any }) => `${html.slice(0, 200)} ${any[0]?.message ?? ''}`).join('\n  ')}`);
	assert.deepEqual(serious, [], what);
}

/** The text of a document, in the editor. */
export const text = (page) => page.locator('.document-text');

/** The cursor to the end of the document. The editor still takes in where a click was while keys come already. */
export async function toEnd(page) {
	await text(page).click();
	await waitFor('the cursor at the end', async () => {
		await page.keyboard.press('Control+End');
		return text(page).evaluate(async (root) => {
			await new Promise((resolve) => { requestAnimationFrame(() => setTimeout(resolve, 50)); });
			const { focusNode, focusOffset } = getSelection();
			if (!root.contains(focusNode)) return false;
			const rest = document.createRange();
			rest.setStart(focusNode, focusOffset);
			rest.setEnd(root, root.childNodes.length);
			const behind = rest.cloneContents();
			for (const caret of behind.querySelectorAll('.caret')) caret.remove();
			return behind.textContent === '';
		});
	});
}

/** How much has moved by itself on the page, and after how many ms its largest part was painted. */
export const painted = (page) => page.evaluate(() => new Promise((resolve) => {
	const seen = { shift: 0, largest: 0 };
	new PerformanceObserver((list) => {
		for (const entry of list.getEntries()) if (!entry.hadRecentInput) seen.shift += entry.value;
	}).observe({ type: 'layout-shift', buffered: true });
	new PerformanceObserver((list) => {
		seen.largest = list.getEntries().at(-1).startTime;
	}).observe({ type: 'largest-contentful-paint', buffered: true });
	requestAnimationFrame(() => requestAnimationFrame(() => resolve(seen)));
}));

/** Nothing is wider than the window. */
export async function fits(page, what) {
	// The page, and what scrolls in it.
	const sizes = await page.evaluate(() => [document.documentElement, document.querySelector('main')]
		.filter(Boolean).map(({ scrollWidth: scroll, clientWidth: client }) => ({ scroll, client })));
	for (const { scroll, client } of sizes) assert.ok(scroll <= client, `${what}: ${scroll} px of content in ${client} px`);
}

/** A request of the page, with its cookie; `headers` are all else that it has. */
export const request = (page, method, path, body, headers = {}) => page.evaluate(async ([how, where, what, more]) => {
	const answer = await fetch(where, {
		method: how, body: what && JSON.stringify(what), headers: { 'Content-Type': 'application/json', ...more },
	});
	return { status: answer.status, body: await answer.json().catch(() => null) };
}, [method, path, body, headers]);

export async function token(page) {
	return (await request(page, 'GET', '/api/session')).body.csrf;
}
