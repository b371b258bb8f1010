// What happens to the demo's messages after they are sent: reactions, edits, deletion, who has read them. And new
// conversations.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { startDemo, startNetwork } from '../../support/demo.mjs';
import { accessible, connected, disconnected, fits, logIn, reconnected, request, shot, token } from './demo.mjs';
import { Browser, CUT, waitFor } from '../support.mjs';

const LIMIT = { timeout: 120_000 };
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

const open = async (login, conversation, { site = demo.url, ...options } = {}) => {
	const page = await logIn(browser, site, login, options);
	await page.goto(`${site}/chat/${conversation}`);
	await connected(page);
	await page.locator('[role=log][aria-busy=false]').waitFor();
	return page;
};

async function write(page, text) {
	await page.locator('.composer').fill(text);
	await page.locator('.composer').press('Enter');
	await sent(page, text);
}

const sent = (page, text) => message(page, text).and(page.locator(':not([data-draft])')).waitFor();
const message = (page, text) => page.locator('.message').filter({ hasText: text });
const reactions = (page, text) => message(page, text).locator('.reactions button').evaluateAll((buttons) =>
	buttons.map((one) => `${one.querySelector('.count').innerText.replace(/\s/g, '')} ${one.getAttribute('aria-pressed')}`));

const reads = (page, text, expected) => waitFor(`the reactions ${expected}`, async () =>
	(await reactions(page, text)).join() === expected);

test('a reaction is chosen with the keyboard, and appears at once for the others', LIMIT, async () => {
	const [ana, bruno] = [await open('ana', 2), await open('bruno', 2)];
	for (const text of ['Quem vem hoje?', 'Digam!']) await write(ana, text);
	await sent(bruno, 'Digam!');
	await bruno.locator('.composer').focus();
	for (const key of ['Shift+Tab', 'ArrowUp', 'Enter']) await bruno.keyboard.press(key);
	await bruno.getByRole('menuitem', { name: '👍' }).waitFor();
	await accessible(bruno, 'the menu of a message');
	await shot(bruno, 'chat-message-menu');
	for (const key of ['ArrowDown', 'ArrowDown', 'Enter']) await bruno.keyboard.press(key);
	// The first item has the focus when the menu is opened with the keyboard.
	await reads(bruno, 'Quem vem hoje?', '😂1 true');
	await reads(ana, 'Quem vem hoje?', '😂1 false');
	const button = message(ana, 'Quem vem hoje?').getByRole('button', { name: '😂 1 Bruno Lima' });
	await button.click();
	for (const page of [ana, bruno]) await reads(page, 'Quem vem hoje?', '😂2 true');
	await accessible(ana, 'a message with reactions');
	await shot(ana, 'chat-reactions');
	await ana.reload();
	await reads(ana, 'Quem vem hoje?', '😂2 true');
	await message(ana, 'Quem vem hoje?').locator('.reactions button').click();
	await reads(bruno, 'Quem vem hoje?', '😂1 true');
});

test('a message is edited and deleted for everyone', LIMIT, async () => {
	const [ana, bruno] = [await open('ana', 2), await open('bruno', 2)];
	const choose = async (text, name) => {
		await message(ana, text).hover();
		await message(ana, text).getByRole('button', { name: 'Reagir, editar ou apagar' }).click();
		await ana.getByRole('menuitem', { name }).click();
	};
	await write(ana, 'Às nove');
	await choose('Às nove', 'Editar');
	await shot(ana, 'chat-edit');
	await accessible(ana, 'a message being edited');
	await ana.locator('.edit').and(ana.locator(':focus')).waitFor();
	await ana.locator('.edit').fill('Às dez');
	await ana.locator('.edit').press('Enter');
	for (const page of [ana, bruno]) {
		await message(page, 'Às dez').locator('.edited').waitFor();
		assert.equal(await message(page, 'Às nove').count(), 0);
	}
	await message(bruno, 'Às dez').hover();
	await message(bruno, 'Às dez').getByRole('button', { name: 'Reagir', exact: true }).click();
	assert.equal(await bruno.getByRole('menuitem', { name: 'Editar' }).count(), 0, 'it is not his');

	await choose('Às dez', 'Apagar');
	await ana.getByRole('alertdialog').getByRole('button', { name: 'Apagar' }).click();
	for (const page of [ana, bruno]) {
		await message(page, 'Mensagem apagada').waitFor();
		assert.equal(await message(page, 'Às dez').count(), 0);
		await waitFor('the list', async () => /Mensagem apagada$/.test(await page.locator('a[href="/chat/2"] .last-line').innerText()));
	}
});

test('changes that a page has missed appear after the reconnect', LIMIT, async () => {
	const network = await startNetwork(demo.port);
	const [ana, carla] = [await open('ana', 4, { site: network.url }), await open('carla', 4)];
	for (const text of ['fica', 'muda']) await write(carla, text);
	await sent(ana, 'muda');
	browser.expect(CUT);
	network.cut();
	await disconnected(ana);
	await message(carla, 'muda').hover();
	await message(carla, 'muda').getByRole('button', { name: 'Reagir' }).click();
	await carla.getByRole('menuitem', { name: '🎉' }).click();
	await reads(carla, 'muda', '🎉1 true');
	network.mend();
	await reconnected(ana);
	await reads(ana, 'muda', '🎉1 false');
	assert.deepEqual(await reactions(ana, 'fica'), []);
	network.stop();
});

test('the author sees who has read a message, and the members are listed', LIMIT, async () => {
	const phone = { viewport: { width: 390, height: 844 } };
	const ana = await open('ana', 1, phone);
	await write(ana, 'Leram?');
	assert.equal(await ana.locator('.read-by').count(), 0);
	await open('bruno', 1);
	await waitFor('one reader', async () => await ana.locator('.read-by').innerText() === 'Lida por Bruno');
	await open('carla', 1);
	await waitFor('all readers', async () => await ana.locator('.read-by').innerText() === 'Lida por todos');
	await ana.getByRole('button', { name: '3 participantes, 3 online' }).click();
	await ana.locator('.members').waitFor();
	assert.deepEqual(await ana.locator('.members li').evaluateAll((items) => items.map((one) => one.innerText.replace(/\s+/g, ' '))),
		['Ana Souza (Você) @ana online', 'Bruno Lima @bruno online', 'Carla Dias @carla online'].map((text, n) => `${['AS', 'BL', 'CD'][n]} ${text}`));
	await accessible(ana, 'the list of members');
	await fits(ana, 'the list of members');
	await shot(ana, 'chat-members');
});

test('a mention is completed with the keyboard or the pointer', LIMIT, async () => {
	const ana = await open('ana', 1, { viewport: { width: 390, height: 844 }, colorScheme: 'dark' });
	const composer = ana.locator('.composer');
	const offered = () => ana.getByRole('option').allInnerTexts();
	await composer.pressSequentially('Oi, @');
	await waitFor('both', async () => (await offered()).length === 2);
	await accessible(ana, 'the offered names');
	await fits(ana, 'the offered names');
	await shot(ana, 'chat-mention');
	await composer.press('ArrowDown');
	await composer.press('Enter');
	await waitFor('her login', async () => await composer.inputValue() === 'Oi, @carla ');
	// Names count too.
	await composer.pressSequentially('e @li');
	await ana.getByRole('option', { name: 'Bruno Lima' }).click();
	await waitFor('his login', async () => await composer.inputValue() === 'Oi, @carla e @bruno ');
	assert.deepEqual(await offered(), []);
	await composer.pressSequentially('! @br');
	await composer.press('Escape');
	await composer.press('Enter');
	await sent(ana, 'Oi, @carla e @bruno ! @br');
});

test('a new conversation appears for its members', LIMIT, async () => {
	const [ana, carla, bruno] = [await open('ana', 2, { colorScheme: 'dark', locale: 'en-GB' }), await open('carla', 4), await open('bruno', 2)];
	await ana.getByRole('button', { name: 'New conversation' }).click();
	const dialog = ana.getByRole('dialog', { name: 'New conversation' });
	assert.ok(await dialog.getByRole('button', { name: 'Create' }).isDisabled(), 'nobody is chosen');
	await dialog.getByLabel('Bruno Lima').check();
	await dialog.getByLabel('Carla Dias').check();
	await dialog.getByLabel('Group name').fill('Feira de sábado');
	await accessible(ana, 'a new conversation');
	await shot(ana, 'chat-new');
	await dialog.getByRole('button', { name: 'Create' }).click();
	await ana.getByRole('heading', { name: 'Feira de sábado' }).waitFor();
	await write(ana, 'Vamos?');
	for (const page of [bruno, carla]) {
		await page.locator('nav a', { hasText: 'Feira de sábado' }).click();
		await sent(page, 'Vamos?');
	}
});

test('a new conversation whose response was lost is created once', LIMIT, async () => {
	const ana = await open('ana', 2);
	let asked = 0;
	await ana.route('**/api/conversations', async (route) => {
		if (route.request().method() !== 'POST') return route.continue();
		asked += 1;
		if (asked > 1) return route.continue();
		// The backend has stored it, and the page does not know.
		await route.fetch();
		return route.abort();
	});
	browser.expect(/ERR_FAILED/);
	await ana.getByRole('button', { name: 'Nova conversa' }).click();
	const dialog = ana.getByRole('dialog');
	for (const name of ['Bruno Lima', 'Carla Dias']) await dialog.getByLabel(name).check();
	await dialog.getByLabel('Nome do grupo').fill('Uma só vez');
	await dialog.getByRole('button', { name: 'Criar' }).click();
	await dialog.getByRole('alert').waitFor();
	await dialog.getByRole('button', { name: 'Criar' }).click();
	await ana.getByRole('heading', { name: 'Uma só vez' }).waitFor();
	assert.equal(asked, 2);
	await ana.reload();
	await connected(ana);
	assert.equal(await ana.locator('nav a', { hasText: 'Uma só vez' }).count(), 1);
});

test('a conversation that was created during an interruption appears after the reconnect', LIMIT, async () => {
	const network = await startNetwork(demo.port);
	const [carla, ana] = [await open('carla', 4, { site: network.url }), await open('ana', 4)];
	browser.expect(CUT);
	network.cut();
	await disconnected(carla);
	const body = { key: crypto.randomUUID(), title: 'Enquanto isso', members: [2, 3] };
	const { status } = await request(ana, 'POST', '/api/conversations', body, { 'X-CSRF-TOKEN': await token(ana) });
	assert.equal(status, 200);
	network.mend();
	await reconnected(carla);
	await carla.locator('nav a', { hasText: 'Enquanto isso' }).waitFor();
	network.stop();
});

test('the text of a deleted message leaves the notifications that mention it', LIMIT, async () => {
	const [ana, bruno] = [await open('ana', 2), await open('bruno', 2)];
	await bruno.goto(`${demo.url}/notifications`);
	await connected(bruno);
	await write(ana, '@bruno, a senha é 1234');
	const row = bruno.locator('.notification').first();
	await row.getByText('a senha é 1234').waitFor();
	await message(ana, 'a senha é 1234').hover();
	await message(ana, 'a senha é 1234').getByRole('button', { name: 'Reagir, editar ou apagar' }).click();
	await ana.getByRole('menuitem', { name: 'Apagar' }).click();
	await ana.getByRole('alertdialog').getByRole('button', { name: 'Apagar' }).click();
	await row.getByText('a senha é 1234').waitFor({ state: 'detached' });
	await shot(bruno, 'notifications-deleted');
	await bruno.reload();
	await row.getByText('Ana Souza mencionou você').waitFor();
	assert.doesNotMatch(await row.innerText(), /1234/);
});
