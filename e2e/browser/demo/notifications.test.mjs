// The demo's notifications: stored, pushed, shown as toasts, and in sync between tabs.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { startDemo, startNetwork } from '../../support/demo.mjs';
import { anotherTab, connected, disconnected, logIn, reconnected, request, shot, token } from './demo.mjs';
import { Browser, CUT, waitFor } from '../support.mjs';

const LIMIT = { timeout: 300_000 };
let demo;
let browser;

before(async () => {
	[demo, browser] = await Promise.all([startDemo(), Browser.launch()]);
}, { timeout: 300_000 });

after(async () => {
	await browser?.close();
	await demo?.dispose();
});

afterEach(() => browser.endTest());

/** Sends a notification to a user, like the form. */
async function tell(page, to, text) {
	const { status } = await request(page, 'POST', '/api/notifications', { to, text }, { 'X-CSRF-TOKEN': await token(page) });
	assert.equal(status, 204);
}

/** Waits until the backend has stored what was marked as read: the page shows it before that. */
const stored = (page) => page.waitForResponse((response) => response.url().endsWith('/api/notifications/read'));

const badge = (page) => page.locator('a[href="/notifications"] .sr-only').allInnerTexts();
const listed = (page) => page.locator('.notification').evaluateAll((all) => all.map((one) => ({
	text: one.querySelector('p:nth-of-type(2)').textContent, unread: 'unread' in one.dataset,
})));

async function counts(page, number) {
	const text = number === 1 ? '1 notificação não lida' : `${number} notificações não lidas`;
	await waitFor(text, async () => (await badge(page)).join() === (number === 0 ? '' : text));
}

test('a notification is shown as a toast, in the counter and in the list, in every tab of the user', LIMIT, async () => {
	const bruno = await logIn(browser, demo.url, 'bruno');
	const tabs = [bruno, await anotherTab(bruno, '/notifications')];
	const ana = await logIn(browser, demo.url, 'ana');
	await ana.goto(`${demo.url}/notifications`);
	await ana.locator('select[name=to]').selectOption('2');
	await ana.locator('textarea[name=text]').fill('A reunião começou!');
	await ana.getByRole('button', { name: 'Enviar' }).click();
	await bruno.locator('.toast').getByText('Aviso de Ana Souza').waitFor();
	// A toast disappears after some seconds, unless the pointer is over it.
	await bruno.locator('.toast').hover();
	for (const tab of tabs) await counts(tab, 1);
	await ana.locator('.toast').getByText('Aviso enviado a Bruno Lima.').waitFor();
	await shot(bruno, 'notifications-toast');
	assert.deepEqual(await listed(tabs[1]), [{ text: 'A reunião começou!', unread: true }]);
	assert.equal((await badge(ana)).length, 0, 'the notification is his');
	assert.equal(await tabs[1].locator('.toast').count(), 0, 'it is in the list');
	assert.equal(await bruno.locator('.toast').count(), 1);
	await bruno.locator('.toast').getByRole('button', { name: 'Fechar' }).click();
	await bruno.locator('.toast').waitFor({ state: 'detached' });
	await bruno.reload();
	await counts(bruno, 1);
});

test('marking one or all notifications as read applies to every tab', LIMIT, async () => {
	const [ana, carla] = [await logIn(browser, demo.url, 'ana'), await logIn(browser, demo.url, 'carla')];
	await carla.goto(`${demo.url}/notifications`);
	const second = await anotherTab(carla, '/chat');
	for (const text of ['um', 'dois', 'três']) await tell(ana, 3, text);
	for (const tab of [carla, second]) await counts(tab, 3);
	assert.deepEqual((await listed(carla)).map(({ text }) => text), ['três', 'dois', 'um']);
	await carla.getByRole('button', { name: 'Marcar como lida: Aviso de Ana Souza' }).nth(1).click();
	for (const tab of [carla, second]) await counts(tab, 2);
	assert.deepEqual((await listed(carla)).map(({ unread }) => unread), [true, false, true]);
	await carla.getByRole('radio', { name: /Não lidas/ }).or(carla.getByRole('button', { name: /Não lidas/ })).first().click();
	await waitFor('the two unread ones', async () => (await listed(carla)).map(({ text }) => text).join() === 'três,um');
	await carla.getByRole('button', { name: 'Marcar todas como lidas' }).click();
	for (const tab of [carla, second]) await counts(tab, 0);
	await carla.getByText('Tudo lido').waitFor();
	await carla.reload();
	await carla.locator('.notification').first().waitFor();
	assert.ok((await listed(carla)).every(({ unread }) => !unread));
});

test('the list has days, and is used with the keyboard', LIMIT, async () => {
	const [ana, bruno] = [await logIn(browser, demo.url, 'ana'), await logIn(browser, demo.url, 'bruno')];
	await bruno.goto(`${demo.url}/notifications`);
	await connected(bruno);
	const body = { id: crypto.randomUUID(), body: 'Olhe, @bruno' };
	await request(ana, 'POST', '/api/conversations/2/messages', body, { 'X-CSRF-TOKEN': await token(ana) });
	await tell(ana, 2, 'por último');
	await bruno.locator('.notification').getByText('por último').waitFor();
	assert.deepEqual((await bruno.locator('.notification .day').allInnerTexts()).map((text) => text.toLowerCase()), ['hoje']);
	const focused = () => bruno.evaluate(() => document.activeElement.textContent);
	for (const [key, text] of [['j', 'por último'], ['j', 'Olhe'], ['k', 'por último']]) {
		await bruno.keyboard.press(key);
		assert.ok((await focused()).includes(text), `${key}: ${await focused()}`);
	}
	await shot(bruno, 'notifications-keyboard');
	let isRead = stored(bruno);
	await bruno.keyboard.press('e');
	await waitFor('the first read', async () => !(await listed(bruno))[0].unread);
	assert.ok((await listed(bruno))[1].unread);
	await isRead;
	await bruno.keyboard.press('j');
	isRead = stored(bruno);
	await bruno.keyboard.press('Enter');
	await bruno.waitForURL('**/chat/2');
	await isRead;
	// In a field, the letters are text.
	await bruno.goto(`${demo.url}/notifications`);
	await bruno.locator('textarea[name=text]').pressSequentially('jeke');
	assert.equal(await bruno.locator('textarea[name=text]').inputValue(), 'jeke');
	await bruno.locator('.notification').first().waitFor();
	await waitFor('the second read', async () => !(await listed(bruno))[1].unread);
});

test('under "Unread", the focus stays in the list when a row is marked and leaves', LIMIT, async () => {
	const [ana, carla] = [await logIn(browser, demo.url, 'ana'), await logIn(browser, demo.url, 'carla')];
	await carla.goto(`${demo.url}/notifications`);
	await connected(carla);
	const before = await carla.locator('.notification[data-unread]').count();
	assert.equal(before, 0, 'all are read');
	for (const text of ['primeiro', 'segundo', 'terceiro']) await tell(ana, 3, text);
	await counts(carla, 3);
	await carla.getByRole('radio', { name: /Não lidas/ }).or(carla.getByRole('button', { name: /Não lidas/ })).first().click();
	const rows = carla.locator('.notification');
	const focus = (what, text) => waitFor(what, async () => (await carla.locator('.notification:focus').allInnerTexts()).some((one) => one.includes(text)));
	await waitFor('three rows', async () => await rows.count() === 3);
	await carla.keyboard.press('j');
	await focus('the first row', 'terceiro');
	let isRead = stored(carla);
	await carla.keyboard.press('e');
	await waitFor('two rows', async () => await rows.count() === 2);
	await isRead;
	await focus('the next row', 'segundo');
	// The last row: the one before it.
	await carla.keyboard.press('j');
	await focus('the last row', 'primeiro');
	isRead = stored(carla);
	await carla.keyboard.press('e');
	await waitFor('one row', async () => await rows.count() === 1);
	await isRead;
	await focus('the row before', 'segundo');
	// With its button, and nothing left: the list.
	isRead = stored(carla);
	await rows.getByRole('button', { name: 'Marcar como lida' }).press('Enter');
	await carla.getByText('Tudo lido').waitFor();
	await isRead;
	assert.equal(await carla.evaluate(() => document.activeElement.tagName), 'SECTION');
});

test('a mention in a conversation is a notification that links to it', LIMIT, async () => {
	const [ana, carla] = [await logIn(browser, demo.url, 'ana'), await logIn(browser, demo.url, 'carla')];
	await carla.goto(`${demo.url}/dashboard`);
	await connected(carla);
	await ana.locator('a[href="/chat/1"]').click();
	await ana.locator('.composer').fill('@carla, olha isto');
	await ana.locator('.composer').press('Enter');
	await carla.locator('.toast').getByText('Ana Souza mencionou você').waitFor();
	await carla.locator('.toast').getByRole('button', { name: 'Ver' }).click();
	await carla.waitForURL('**/chat/1');
	await carla.locator('.message').getByText('@carla, olha isto').waitFor();
	await counts(carla, 0);
});

test('notifications sent during a network failure appear after the reconnect', LIMIT, async () => {
	const network = await startNetwork(demo.port);
	const bruno = await logIn(browser, network.url, 'bruno');
	await bruno.goto(`${network.url}/notifications`);
	await connected(bruno);
	const ana = await logIn(browser, demo.url, 'ana');
	await bruno.locator('.notification').first().waitFor();
	const before = (await listed(bruno)).length;
	browser.expect(CUT);
	network.cut();
	await disconnected(bruno);
	await tell(ana, 2, 'enquanto isso');
	await bruno.getByText('Sem conexão. As novas notificações').waitFor();
	await shot(bruno, 'notifications-offline');
	network.mend();
	await reconnected(bruno);
	await waitFor('the missed notification', async () => (await listed(bruno))[0].text === 'enquanto isso');
	assert.equal((await listed(bruno)).length, before + 1);
	network.stop();
});

/** Records the animations of a page's toasts, which may end before a busy machine looks at them. */
const recordAnimations = (page) => page.evaluate(() => {
	window.animations = [];
	for (const type of ['animationstart', 'animationend']) {
		document.addEventListener(type, ({ target, animationName: name }) => {
			if (!target.matches('.toast')) return;
			const { animationDuration: duration, opacity } = getComputedStyle(target);
			const seconds = Number.parseFloat(duration) * (duration.endsWith('ms') ? 0.001 : 1);
			window.animations.push({ type, name, seconds, opacity, text: target.textContent });
		});
	}
});

test('a toast is animated, unless the user prefers reduced motion', LIMIT, async () => {
	const ana = await logIn(browser, demo.url, 'ana');
	for (const [reducedMotion, seconds] of [['no-preference', 0.25], ['reduce', 0.001]]) {
		const bruno = await logIn(browser, demo.url, 'bruno', { reducedMotion });
		await recordAnimations(bruno);
		await tell(ana, 2, reducedMotion);
		const animation = (type) => waitFor(`${type} of the toast`, () => bruno.evaluate(([wanted, words]) => (
			window.animations.find((one) => one.type === wanted && one.name === 'toast-in' && one.text.includes(words))
		), [type, reducedMotion]));
		const started = await animation('animationstart');
		assert.ok(Math.abs(started.seconds - seconds) < 1e-6, `${reducedMotion}: ${started.seconds} s`);
		const ended = await animation('animationend');
		assert.equal(ended.opacity, '1', 'it is seen');
		await bruno.context().close();
	}
});

test('at most two toasts are shown at once', LIMIT, async () => {
	const [ana, bruno] = [await logIn(browser, demo.url, 'ana'), await logIn(browser, demo.url, 'bruno')];
	await bruno.evaluate(() => {
		window.most = 0;
		new MutationObserver(() => { window.most = Math.max(window.most, document.querySelectorAll('.toast').length); })
			.observe(document.body, { childList: true, subtree: true });
	});
	for (const text of ['um', 'dois', 'três', 'quatro']) await tell(ana, 2, text);
	await bruno.locator('.toast').getByText('quatro').waitFor();
	assert.equal(await bruno.evaluate(() => window.most), 2);
});

test('users can read only their own notifications', LIMIT, async () => {
	browser.expect(/403/);
	const ana = await logIn(browser, demo.url, 'ana');
	const headers = { 'X-CSRF-TOKEN': await token(ana) };
	const joined = await request(ana, 'POST', '/broadcasting/auth',
		{ socket_id: '1.2', channel_name: 'private-App.Models.User.2' }, headers);
	assert.equal(joined.status, 403);
});
