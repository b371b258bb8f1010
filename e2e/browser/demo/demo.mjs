// Users of the demo, each in a separate browser context.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import assert from 'node:assert/strict';
import { artefacts, waitFor } from '../support.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Logs in as `login`. `options` are those of Playwright's contexts. */
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

/** Opens another tab of the same user. */
export async function anotherTab(page, path) {
	const tab = await page.context().newPage();
	await tab.goto(new URL(path, page.url()).href);
	await connected(tab);
	return tab;
}

export const connection = (page) => page.locator('.connection').innerText();

/** "Online" also means that the user's channel is subscribed and its notifications are loaded. */
export const connected = (page) => waitFor('the connection', async () => await connection(page) === 'Online');

/** pusher-js waits up to 15 s for its next attempt, unless the browser fires `online`. */
export async function reconnected(page) {
	let asked = Date.now();
	await waitFor('the connection', async () => {
		if (await connection(page) === 'Online') return true;
		if (Date.now() - asked > 1000) {
			await page.evaluate(() => dispatchEvent(new Event('online')));
			asked = Date.now();
		}
		return false;
	});
}

export const disconnected = (page) =>
	waitFor('the lost connection', async () => await connection(page) !== 'Online');

export const shot = (page, name) => page.screenshot({ path: join(artefacts, `demo-${name}.png`) });

/** Asserts that axe finds no accessibility problem. */
export async function accessible(page, what) {
	// Colours are checked at the end of transitions.
	await page.evaluate(() => Promise.all(document.getAnimations()
		.filter((animation) => animation.effect.getComputedTiming().iterations !== Infinity)
		.map((animation) => animation.finished.catch(() => undefined))));
	// The debugger bypasses the page's Content-Security-Policy.
	await page.evaluate(`if (!window.axe) { ${axe} }`);
	const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
	const found = violations.map(({ id, nodes }) =>
		`${id}: ${nodes.map(({ html, any }) => `${html.slice(0, 200)} ${any[0]?.message ?? ''}`).join('\n  ')}`);
	assert.deepEqual(found, [], what);
}

/** The editor's text area. */
export const text = (page) => page.locator('.document-text');

/**
 * Moves the cursor to the end of the document. The editor may still be handling the click when the keys
 * arrive.
 */
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

/** The page's cumulative layout shift, and its largest contentful paint in ms. */
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

/** Asserts that nothing is wider than the window. */
export async function fits(page, what) {
	// The page and its scrollable elements.
	const sizes = await page.evaluate(() => [document.documentElement, document.querySelector('main')]
		.filter(Boolean).map(({ scrollWidth: scroll, clientWidth: client }) => ({ scroll, client })));
	for (const { scroll, client } of sizes) assert.ok(scroll <= client, `${what}: ${scroll} px of content in ${client} px`);
}

/** Sends a request from the page, with its cookie and `headers` only. */
export const request = (page, method, path, body, headers = {}) => page.evaluate(async ([how, where, what, more]) => {
	const answer = await fetch(where, {
		method: how, body: what && JSON.stringify(what), headers: { 'Content-Type': 'application/json', ...more },
	});
	return { status: answer.status, body: await answer.json().catch(() => null) };
}, [method, path, body, headers]);

export async function token(page) {
	return (await request(page, 'GET', '/api/session')).body.csrf;
}
