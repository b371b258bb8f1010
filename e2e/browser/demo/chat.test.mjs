// The demo's chat, with two and three users and network failures.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, afterEach, before, test } from 'node:test';
import { startDemo, startNetwork } from '../../support/demo.mjs';
import { accessible, anotherTab, connected, disconnected, logIn, reconnected, request, shot, token } from './demo.mjs';
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

const open = async (login, conversation, site = demo.url) => {
	const page = await logIn(browser, site, login);
	await page.locator(`a[href="/chat/${conversation}"]`).click();
	await page.locator('.composer').waitFor();
	return page;
};

async function write(page, ...texts) {
	for (const text of texts) {
		await page.locator('.composer').fill(text);
		await page.locator('.composer').press('Enter');
	}
}

/** Waits until the history is loaded, even if it is empty. */
const loaded = (page) => page.locator('[role=log][aria-busy=false]').waitFor();

/** The messages on the page, and whether the backend has stored them. */
const shown = (page) => page.locator('.message').evaluateAll((messages) => messages.map((one) => ({
	text: one.querySelector('.body').textContent, isDraft: 'draft' in one.dataset,
})));

async function reads(page, expected) {
	let seen;
	await waitFor(`the messages ${expected}`, async () => {
		seen = await shown(page);
		return seen.length >= expected.length && seen.every(({ isDraft }) => !isDraft);
	}).catch((error) => { throw new Error(`${error.message}, but saw ${JSON.stringify(seen)}`, { cause: error }); });
	assert.deepEqual(seen.map(({ text }) => text), expected);
}

/**
 * Records duplicate and vanished messages from now on, after each change of the page, even if they last for a
 * moment only. Each text of a test must be unique.
 */
const watchTexts = (page) => page.evaluate(() => {
	window.faults = [];
	let before = [];
	const look = () => {
		const texts = [...document.querySelectorAll('.message .body')].map((one) => one.textContent);
		const twice = texts.filter((text, n) => texts.indexOf(text) !== n);
		const gone = before.filter((text) => !texts.includes(text));
		if (twice.length || gone.length) window.faults.push({ twice, gone, texts });
		window.looked = (window.looked ?? 0) + 1;
		before = texts;
	};
	look();
	new MutationObserver(look).observe(document.querySelector('[role=log]'), { childList: true, subtree: true, characterData: true });
});

async function showedEachOnce(page) {
	const { faults, looked } = await page.evaluate(() => ({ faults: window.faults, looked: window.looked }));
	assert.ok(looked > 1, `the page has changed ${looked} times`);
	assert.deepEqual(faults, []);
}

const unread = (page, conversation) => page.locator(`a[href="/chat/${conversation}"] .sr-only`).allInnerTexts();

test('a message appears at once, as a draft for its sender and then for the others', LIMIT, async () => {
	const [ana, bruno] = [await open('ana', 2), await open('bruno', 2)];
	await ana.getByText('Nenhuma mensagem ainda').waitFor();
	// A message that is being sent is shown as a draft.
	let release;
	const held = new Promise((resolve) => { release = resolve; });
	await ana.route('**/messages', async (route) => {
		await held;
		await route.continue();
	});
	await write(ana, 'Oi, Bruno!');
	await waitFor('the draft', async () => (await shown(ana))[0]?.isDraft);
	assert.equal(await ana.locator('.composer').inputValue(), '');
	release();
	for (const page of [ana, bruno]) await reads(page, ['Oi, Bruno!']);
	await ana.unroute('**/messages');
	await write(bruno, 'Oi, Ana!', 'Tudo bem?');
	for (const page of [ana, bruno]) await reads(page, ['Oi, Bruno!', 'Oi, Ana!', 'Tudo bem?']);
	// It is in the database.
	await ana.reload();
	await reads(ana, ['Oi, Bruno!', 'Oi, Ana!', 'Tudo bem?']);
	await shot(ana, 'chat-two');
});

test('a message is not sent back to its own page, but to the user’s other tab', LIMIT, async () => {
	const [ana, bruno] = [await open('ana', 2), await open('bruno', 2)];
	/** A tab of hers, and the messages that it receives by its WebSocket. */
	const watched = async () => {
		const page = await ana.context().newPage();
		const bodies = [];
		page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => {
			const { event, data } = JSON.parse(payload);
			if (event === 'App\\Events\\MessageSent') bodies.push(JSON.parse(data).message.body);
		}));
		await page.goto(`${demo.url}/chat/2`);
		await page.locator('.composer').waitFor();
		await connected(page);
		await loaded(page);
		return { page, bodies };
	};
	const [writer, other] = [await watched(), await watched()];
	await write(writer.page, 'só para os outros');
	for (const page of [bruno, other.page]) await page.locator('.message').getByText('só para os outros').waitFor();
	assert.deepEqual(other.bodies, ['só para os outros']);
	// Events arrive in order, so the earlier message would have arrived before his reply.
	await write(bruno, 'recebido');
	await waitFor('his reply', () => writer.bodies.includes('recebido') && other.bodies.includes('recebido'));
	assert.deepEqual(writer.bodies, ['recebido']);
	assert.deepEqual(other.bodies, ['só para os outros', 'recebido']);
	assert.equal(await writer.page.locator('.message').getByText('só para os outros').count(), 1);
});

test('online users are visible to all, typing users only in their conversation', LIMIT, async () => {
	const ana = await open('ana', 1);
	const names = () => ana.locator('.online .name').allInnerTexts();
	await ana.locator('.online .nobody').waitFor();
	const [bruno, carla] = [await open('bruno', 1), await open('carla', 4)];
	await waitFor('both', async () => (await names()).sort().join() === 'Bruno Lima,Carla Dias');
	// A second tab is not a second user.
	const second = await anotherTab(bruno, '/chat/1');
	assert.equal((await names()).length, 2);
	await second.close();

	await waitFor('the whisper', async () => {
		await bruno.locator('.composer').pressSequentially('o');
		return ana.locator('.typing').isVisible();
	});
	assert.equal(await ana.locator('.typing').innerText(), 'Bruno está digitando…');
	assert.equal(await carla.locator('.typing').count(), 0, 'it is another conversation');
	await shot(ana, 'chat-typing');
	await ana.locator('.typing').waitFor({ state: 'detached' });

	await carla.context().close();
	await waitFor('her to leave', async () => (await names()).join() === 'Bruno Lima');
	// The indicator disappears when the message is sent.
	await waitFor('the whisper', async () => {
		await bruno.locator('.composer').pressSequentially('o');
		return ana.locator('.typing').isVisible();
	});
	await write(bruno, 'pronto');
	await ana.getByText('pronto', { exact: true }).first().waitFor();
	assert.equal(await ana.locator('.typing').count(), 0);
});

test('every tab counts unread messages until one tab has read them', LIMIT, async () => {
	const carla = await open('carla', 3);
	const bruno = await logIn(browser, demo.url, 'bruno');
	const second = await anotherTab(bruno, '/notifications');
	await write(carla, 'um', 'dois', 'três');
	await waitFor('three unread', async () => (await unread(bruno, 3)).includes('3 mensagens não lidas'));
	await waitFor('three in the navigation', async () =>
		(await second.locator('a[href="/chat"] .sr-only').allInnerTexts()).join() === '3 mensagens não lidas');
	await shot(bruno, 'chat-unread');
	await bruno.locator('a[href="/chat/3"]').click();
	await bruno.locator('.unread').waitFor();
	for (const page of [bruno, second]) {
		await waitFor('nothing unread', async () => (await page.locator('nav .sr-only').allInnerTexts())
			.every((text) => !text.includes('mensage')));
	}
	await bruno.reload();
	await bruno.locator('.message').first().waitFor();
	assert.deepEqual((await unread(bruno, 3)).filter((text) => text.includes('lida')), []);
});

test('no message is lost or duplicated when the network fails', LIMIT, async () => {
	const network = await startNetwork(demo.port);
	const [ana, carla] = [await open('ana', 4, network.url), await open('carla', 4)];
	await write(ana, 'antes');
	for (const page of [ana, carla]) {
		await reads(page, ['antes']);
		await watchTexts(page);
	}

	browser.expect(CUT);
	network.cut();
	await disconnected(ana);
	await write(carla, 'dela, um', 'dela, dois');
	await reads(carla, ['antes', 'dela, um', 'dela, dois']);
	await write(ana, 'minha, um', 'minha, dois');
	await waitFor('the drafts', async () => (await shown(ana)).filter(({ isDraft }) => isDraft).length === 2);
	await ana.locator('.offline').waitFor();
	await shot(ana, 'chat-offline');

	network.mend();
	await reconnected(ana);
	const all = ['antes', 'dela, um', 'dela, dois', 'minha, um', 'minha, dois'];
	for (const page of [ana, carla]) await reads(page, all);
	await write(carla, 'depois');
	for (const page of [ana, carla]) await reads(page, [...all, 'depois']);

	// Again, but only the reconnect shows that messages may be missing.
	network.cut();
	await disconnected(ana);
	await write(carla, 'por último');
	await reads(carla, [...all, 'depois', 'por último']);
	network.mend();
	await reconnected(ana);
	await reads(ana, [...all, 'depois', 'por último']);
	for (const page of [ana, carla]) await showedEachOnce(page);
	network.stop();
});

test('a message whose response was lost is sent again and stored once', LIMIT, async () => {
	const network = await startNetwork(demo.port);
	const [ana, bruno] = [await open('ana', 2, network.url), await open('bruno', 2)];
	await loaded(bruno);
	const before = (await shown(bruno)).map(({ text }) => text);

	for (const page of [ana, bruno]) await watchTexts(page);
	browser.expect(CUT);
	network.loseAnswers();
	await write(ana, 'uma vez só');
	await reads(bruno, [...before, 'uma vez só']);
	assert.ok((await shown(ana)).at(-1).isDraft, 'it is still a draft');
	network.mend();
	await reconnected(ana);
	for (const page of [ana, bruno]) {
		await reads(page, [...before, 'uma vez só']);
		await showedEachOnce(page);
	}

	// A page keeps unsent messages when it is reloaded during the outage.
	network.cut();
	await disconnected(ana);
	await write(ana, 'guardada');
	await waitFor('the draft', async () => (await shown(ana)).at(-1).isDraft);
	network.mend();
	await ana.reload();
	for (const page of [ana, bruno]) await reads(page, [...before, 'uma vez só', 'guardada']);
	network.stop();
});

test('three users on an unreliable network end with the same conversation', { timeout: 300_000 }, async () => {
	const network = await startNetwork(demo.port);
	const pages = [await open('ana', 1, network.url), await open('bruno', 1), await open('carla', 1)];
	await Promise.all(pages.map(connected));
	await Promise.all(pages.map(loaded));
	const before = await pages[2].locator('.message').count();
	browser.expect(CUT);
	const written = [];
	let number = 0;
	const all = () => Promise.all(pages.map(async (page, who) => {
		const text = `${who}: ${number += 1}`;
		written.push(text);
		await write(page, text);
	}));
	for (const fail of ['cut', 'loseAnswers', 'cut']) {
		await all();
		network[fail]();
		for (let n = 0; n < 3; n += 1) await all();
		if (fail === 'cut') await disconnected(pages[0]);
		network.mend();
		await all();
		await reconnected(pages[0]);
	}
	const seen = await waitFor('the same on all pages', async () => {
		const [first, ...others] = await Promise.all(pages.map(shown));
		const isWhole = first.length === before + written.length && first.every(({ isDraft }) => !isDraft);
		return isWhole && others.every((other) => JSON.stringify(other) === JSON.stringify(first)) && first;
	});
	const texts = seen.slice(before).map(({ text }) => text);
	assert.deepEqual(texts.toSorted(), written.toSorted(), 'each once');
	for (const who of [0, 1, 2]) {
		const own = (list) => list.filter((text) => text.startsWith(`${who}:`));
		assert.deepEqual(own(texts), own(written), 'in the order in which each wrote them');
	}
	network.stop();
});

test('the chat continues after a restart of the application', LIMIT, async () => {
	const [ana, bruno] = [await open('ana', 2), await open('bruno', 2)];
	await loaded(bruno);
	const before = (await shown(bruno)).map(({ text }) => text);
	browser.expect(CUT);
	await demo.stop();
	for (const page of [ana, bruno]) await disconnected(page);
	await write(ana, 'enquanto isso');
	await demo.start();
	for (const page of [ana, bruno]) await reconnected(page);
	for (const page of [ana, bruno]) await reads(page, [...before, 'enquanto isso']);
});

test('scrolling up loads the history without gaps', LIMIT, async () => {
	const ana = await logIn(browser, demo.url, 'ana');
	const headers = { 'X-CSRF-TOKEN': await token(ana) };
	for (let n = 1; n <= 120; n += 1) {
		const { status } = await request(ana, 'POST', '/api/conversations/1/messages', { id: randomUUID(), body: `n.º ${n}` }, headers);
		assert.equal(status, 200);
	}
	const carla = await open('carla', 1);
	await carla.locator('.message').nth(49).waitFor();
	const log = carla.getByRole('log');
	// Visible messages stay in place while older ones are inserted above them.
	const oldest = carla.locator('.message').first();
	const text = await oldest.locator('.body').innerText();
	const top = (what) => carla.locator('.message .body').getByText(what, { exact: true })
		.evaluate((one) => one.getBoundingClientRect().top);
	let answer;
	const held = new Promise((resolve) => { answer = resolve; });
	await carla.route('**/messages?before=*', async (route) => {
		await held;
		await route.continue();
	});
	await log.evaluate((element) => { element.scrollTop = 0; });
	await carla.getByRole('button', { name: 'Carregando…' }).waitFor();
	const before = await top(text);
	answer();
	await carla.locator('.message').nth(99).waitFor();
	await waitFor(`${text} in the same place`, async () => Math.abs(await top(text) - before) <= 2);
	assert.ok(await log.evaluate((element) => element.scrollTop) > 1000, 'older messages are above it');
	await carla.unroute('**/messages?before=*');
	await waitFor('all of them', async () => {
		await log.evaluate((element) => { element.scrollTop = 0; });
		return carla.getByText('Começo da conversa').isVisible();
	});
	const texts = (await shown(carla)).map(({ text }) => text).filter((text) => text.startsWith('n.º'));
	assert.deepEqual(texts, Array.from({ length: 120 }, (_, n) => `n.º ${n + 1}`));
});

test('each conversation keeps what is being written in it, even over a reload', LIMIT, async () => {
	const ana = await open('ana', 2);
	await ana.locator('.composer').fill('para o Bruno, mais tarde');
	await ana.locator('a[href="/chat/4"]').click();
	await waitFor('an empty field', async () => await ana.locator('.composer').inputValue() === '');
	await ana.locator('.composer').fill('para a Carla');
	await waitFor('the draft in the list', async () =>
		(await ana.locator('a[href="/chat/2"] .last-line').innerText()) === 'Rascunho: para o Bruno, mais tarde');
	await ana.locator('a[href="/chat/2"]').click();
	await waitFor('his text', async () => await ana.locator('.composer').inputValue() === 'para o Bruno, mais tarde');
	await ana.reload();
	await waitFor('his text', async () => await ana.locator('.composer').inputValue() === 'para o Bruno, mais tarde');
	await ana.locator('.composer').press('Enter');
	await ana.locator('.message:not([data-draft])').getByText('para o Bruno, mais tarde').waitFor();
	await ana.reload();
	await loaded(ana);
	assert.equal(await ana.locator('.composer').inputValue(), '');
	await ana.locator('a[href="/chat/4"]').click();
	await waitFor('her text', async () => await ana.locator('.composer').inputValue() === 'para a Carla');
});

test('links and mentions are shown, and the window counts what is unread', LIMIT, async () => {
	const [ana, carla] = [await logIn(browser, demo.url, 'ana'), await open('carla', 4)];
	await ana.goto(`${demo.url}/dashboard`);
	await connected(ana);
	assert.equal(await ana.title(), 'Painel · Clarim');
	await write(carla, 'Veja https://example.com/a?b=1. Você viu, @ana? E <b>isto</b>');
	// The message and the mention.
	await waitFor('the number', async () => /^\(2\) Painel · Clarim$/.test(await ana.title()));
	await ana.goto(`${demo.url}/chat/4`);
	const message = ana.locator('.message').last();
	const link = message.getByRole('link', { name: 'https://example.com/a?b=1', exact: true });
	assert.deepEqual([await link.getAttribute('href'), await link.getAttribute('target'), await link.getAttribute('rel')],
		['https://example.com/a?b=1', '_blank', 'noopener noreferrer']);
	assert.equal(await message.locator('.body strong').innerText(), '@ana');
	assert.equal(await message.locator('.body').innerText(), 'Veja https://example.com/a?b=1. Você viu, @ana? E <b>isto</b>');
	// A mention in the conversation that is open has no toast, and is read.
	await write(carla, '@ana, de novo');
	await ana.locator('.message').getByText('de novo').waitFor();
	await waitFor('only the first mention', async () => await ana.title() === '(1) Conversas · Clarim');
	assert.equal(await ana.locator('.toast').count(), 0);
});

test('the day of the messages stays in view', LIMIT, async () => {
	const ana = await open('ana', 1);
	await loaded(ana);
	const log = ana.getByRole('log');
	const edge = await log.evaluate((one) => one.getBoundingClientRect().top);
	const day = ana.locator('.day').last();
	await log.evaluate((element) => { element.scrollTop = element.scrollHeight; });
	await waitFor('the day at the top', () => day.evaluate((one, top) => Math.abs(one.getBoundingClientRect().top - top) < 40, edge));
	assert.equal((await day.innerText()).toLowerCase(), 'hoje');
});

test('only members may read a conversation, and others see why not', LIMIT, async () => {
	browser.expect(/403/);
	const ana = await logIn(browser, demo.url, 'ana');
	const path = '/api/conversations/3/messages';
	assert.equal((await request(ana, 'GET', path)).status, 403);
	const headers = { 'X-CSRF-TOKEN': await token(ana) };
	assert.equal((await request(ana, 'POST', path, { id: randomUUID(), body: 'oi' }, headers)).status, 403);
	await ana.goto(`${demo.url}/chat/3`);
	await ana.getByRole('alert').getByText('Sem acesso a esta conversa').waitFor();
	assert.equal(await ana.locator('.composer').count(), 0);
	await shot(ana, 'chat-forbidden');
	await ana.getByText('Voltar às suas conversas').click();
	await ana.getByText('Escolha uma conversa').waitFor();
});

test('requests of other sites are refused', LIMIT, async () => {
	browser.expect(/419/);
	const ana = await open('ana', 2);
	const { status, body } = await request(ana, 'POST', '/api/conversations/2/messages', { id: randomUUID(), body: 'forjada' });
	assert.deepEqual([status, body.code], [419, 'csrf']);
	const joined = await request(ana, 'POST', '/broadcasting/auth', { socket_id: '1.2', channel_name: 'private-chat.2' });
	assert.equal(joined.status, 419);
	await ana.reload();
	await loaded(ana);
	assert.ok((await shown(ana)).every(({ text }) => text !== 'forjada'));
	const cookies = await ana.context().cookies();
	const session = cookies.find(({ name }) => name === 'demo_session');
	assert.deepEqual([session.httpOnly, session.sameSite], [true, 'Lax']);
});

test('markup in a message is shown as text', LIMIT, async () => {
	const [ana, bruno] = [await open('ana', 2), await open('bruno', 2)];
	const text = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>{{ 1 + 1 }}';
	await write(ana, text);
	for (const page of [ana, bruno]) {
		await waitFor('the text', async () => (await shown(page)).at(-1)?.text === text);
		assert.equal(await page.locator('.message img, .message script').count(), 0);
		assert.match(await page.title(), /Conversas · Clarim$/);
	}
});

test('Markdown of a message is shown, and the jump button counts what is unread below', LIMIT, async () => {
	const [ana, carla] = [await open('ana', 4), await open('carla', 4)];
	await write(ana, '**Atenção**: use _agora_ `**cargo**`, veja [o guia](https://example.com/guia) <i>já</i>');
	const message = carla.locator('.message').filter({ hasText: 'Atenção' });
	await message.locator('strong', { hasText: 'Atenção' }).waitFor();
	assert.equal(await message.locator('em').innerText(), 'agora');
	assert.equal(await message.locator('code').innerText(), '**cargo**');
	assert.equal(await message.getByRole('link', { name: 'o guia' }).getAttribute('href'), 'https://example.com/guia');
	assert.match(await message.locator('.body').innerText(), /<i>já<\/i>$/);
	await accessible(carla, 'Markdown');
	await shot(carla, 'chat-markdown');

	for (let n = 0; n < 25; n += 1) await write(ana, `linha ${n}`);
	await carla.locator('.message').getByText('linha 24', { exact: true }).waitFor();
	const log = carla.locator('[role=log]');
	const jump = carla.locator('button.latest');
	await log.evaluate((element) => { element.scrollTop = 0; });
	await jump.waitFor();
	assert.equal(await jump.getAttribute('aria-label'), 'Ir para as mais recentes');
	await write(ana, 'embaixo um', 'embaixo dois');
	await waitFor('the number', async () => await jump.getAttribute('aria-label') === 'Ir para as mais recentes: 2 mensagens não lidas');
	assert.match(await jump.innerText(), /^2/);
	await accessible(carla, 'the jump button');
	await shot(carla, 'chat-jump');
	await jump.click();
	await jump.waitFor({ state: 'detached' });
});
