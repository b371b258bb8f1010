// The demo's editor: documents that several users edit at once, and network failures.

import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { after, afterEach, before, test } from 'node:test';
import { startDemo, startNetwork } from '../../support/demo.mjs';
import { accessible, anotherTab, connected, disconnected, fits, logIn, painted, request, shot, text, toEnd, token } from './demo.mjs';
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

async function open(login, id, site = demo.url, options = {}) {
	const page = await logIn(browser, site, login, options);
	await page.goto(`${site}/editor/${id}`);
	await text(page).waitFor();
	await connected(page);
	return page;
}

/** Creates a separate document for a test. */
async function create(page, title) {
	const { status, body } = await request(page, 'POST', '/api/documents', { title }, { 'X-CSRF-TOKEN': await token(page) });
	assert.equal(status, 200);
	return body.id;
}

/** The text of a document, without the names at the cursors. */
const written = (page, what) => text(page).locator(what).evaluateAll((found) => found.map((one) => {
	const copy = one.cloneNode(true);
	for (const caret of copy.querySelectorAll('.caret')) caret.remove();
	return copy.textContent;
}));

const paragraphs = (page) => written(page, ':scope > *');

async function reads(page, expected) {
	let seen;
	await waitFor(`the text ${expected}`, async () => {
		seen = await paragraphs(page);
		return seen.join('\n') === expected.join('\n');
	}).catch((error) => { throw new Error(`${error.message}, but saw ${JSON.stringify(seen)}`, { cause: error }); });
}

const saved = (page) => page.locator('.save-state[data-state=saved]').waitFor();

async function newDocument(title, ...logins) {
	const first = await logIn(browser, demo.url, logins[0]);
	const id = await create(first, title);
	const pages = [];
	for (const login of logins) pages.push(await open(login, id));
	await first.context().close();
	return [id, ...pages];
}

test('text and formatting reach the others and are stored', LIMIT, async () => {
	const [, ana, bruno] = await newDocument('Forma', 'ana', 'bruno');
	await ana.getByRole('button', { name: 'Título', exact: true }).click();
	await ana.keyboard.type('Plano');
	await ana.keyboard.press('Enter');
	await ana.keyboard.type('Uma ');
	await ana.keyboard.press('Control+b');
	await ana.keyboard.type('decisão');
	await reads(bruno, ['Plano', 'Uma decisão']);
	assert.deepEqual(await written(bruno, 'h1'), ['Plano']);
	assert.deepEqual(await written(bruno, 'strong'), ['decisão']);
	// Typed markup is text.
	await toEnd(bruno);
	await bruno.keyboard.press('Enter');
	await bruno.keyboard.type('<img src=x onerror=alert(1)>');
	await reads(ana, ['Plano', 'Uma decisão', '<img src=x onerror=alert(1)>']);
	assert.equal(await text(ana).locator('img:not(.ProseMirror-separator)').count(), 0);
	await saved(ana);
	await saved(bruno);
	await ana.reload();
	await reads(ana, ['Plano', 'Uma decisão', '<img src=x onerror=alert(1)>']);
});

test('three users typing at once, one of them offline for a while, end with the same complete text', LIMIT, async () => {
	const network = await startNetwork(demo.port);
	const [id, ana, bruno] = await newDocument('Três ao mesmo tempo', 'ana', 'bruno');
	const carla = await open('carla', id, network.url);
	const pages = [ana, bruno, carla];
	for (const [n, page] of pages.entries()) {
		await toEnd(page);
		await page.keyboard.press('Enter');
		await page.keyboard.type(`começo ${n}.`);
		for (const other of pages) await waitFor('the text on all pages', async () => (await paragraphs(other)).join(' ').includes(`começo ${n}.`));
	}
	const before = (await paragraphs(ana)).join('');
	const words = pages.map((_, n) => Array.from({ length: 25 }, (__, i) => `${'abc'[n]}${i}`));
	const type = async (page, list) => {
		for (const word of list) await page.keyboard.type(`${word} `, { delay: 12 });
	};
	browser.expect(CUT);
	await Promise.all([
		type(ana, words[0]),
		type(bruno, words[1]),
		(async () => {
			await type(carla, words[2].slice(0, 8));
			network.cut();
			await disconnected(carla);
			await carla.locator('.save-state[data-state=offline]').waitFor();
			await type(carla, words[2].slice(8));
			await shot(carla, 'editor-offline');
			await accessible(carla, 'the editor without a connection');
		})(),
	]);
	await waitFor('the text of the other two', async () => (await paragraphs(ana)).join(' ').includes('b24'));
	assert.ok(!(await paragraphs(ana)).join(' ').includes('c24'), 'she is offline');
	network.mend();
	await connected(carla);
	let seen;
	await waitFor('the same text in all three', async () => {
		seen = (await Promise.all(pages.map(paragraphs))).map((one) => one.join('\n'));
		return seen.every((one) => one === seen[0]) && seen[0].includes('c24') && seen[0].includes('b24') && seen[0].includes('a24');
	}).catch((error) => { throw new Error(`${error.message}: ${JSON.stringify(seen, null, 1)}`, { cause: error }); });
	const letters = (words_) => [...words_].sort().join('').replaceAll(/\s/g, '');
	assert.equal(letters(seen[0]), letters(before + words.flat().join('')), 'each letter once');
	for (const list of words) {
		const own = seen[0].split(/[\s.]+/).filter((word) => list.includes(word));
		assert.deepEqual(own, list, 'in the order in which it was typed');
	}
	for (const page of pages) await saved(page);
	await shot(ana, 'editor-three');
	// The same text is stored.
	const fresh = await anotherTab(bruno, `/editor/${id}`);
	await reads(fresh, await paragraphs(ana));
	network.stop();
});

test('offline deletions are merged, undo affects own changes only, and a reload loses nothing', LIMIT, async () => {
	const network = await startNetwork(demo.port);
	const [id, ana] = await newDocument('Sem rede', 'ana');
	await text(ana).click();
	await ana.keyboard.type('um dois três');
	const bruno = await open('bruno', id, network.url);
	await reads(bruno, ['um dois três']);
	browser.expect(CUT);
	network.cut();
	await disconnected(bruno);
	await toEnd(bruno);
	for (let n = 0; n < 5; n += 1) await bruno.keyboard.press('Backspace');
	await bruno.keyboard.press('Enter');
	await bruno.keyboard.type('quatro');
	await ana.keyboard.press('Control+Home');
	// In one edit, which is undone as a whole.
	await ana.keyboard.insertText('zero ');
	await saved(ana);
	// The page may be reloaded, because unsent changes are in the session storage.
	await waitFor('the unsent changes to be kept', () => bruno.evaluate(() => Object.keys(sessionStorage).some((key) => key.startsWith('document.'))));
	bruno.on('dialog', (dialog) => dialog.accept());
	network.mend();
	await bruno.reload();
	await connected(bruno);
	for (const page of [ana, bruno]) await reads(page, ['zero um dois', 'quatro']);
	// The other page may have the changes before this one has the response.
	await waitFor('the kept changes to be removed', () => bruno.evaluate(() => !Object.keys(sessionStorage).some((key) => key.startsWith('document.'))));
	// Undo affects only the user's own changes.
	await toEnd(bruno);
	await bruno.keyboard.type(' cinco');
	await reads(ana, ['zero um dois', 'quatro cinco']);
	await ana.keyboard.press('Control+z');
	await waitFor('the undo', async () => !(await paragraphs(bruno)).join(' ').includes('zero'));
	assert.ok((await paragraphs(bruno)).join(' ').includes('quatro cinco'));
	network.stop();
});

test('the others’ cursors are shown with names and disappear with their users', LIMIT, async () => {
	const [, ana, bruno] = await newDocument('Cursores', 'ana', 'bruno');
	await text(ana).click();
	await ana.keyboard.type('Onde estão os outros?');
	await reads(bruno, ['Onde estão os outros?']);
	await toEnd(bruno);
	await bruno.keyboard.press('Home');
	const names = (page) => page.locator('.caret-name').allInnerTexts();
	await waitFor('Bruno’s cursor', async () => (await names(ana)).join() === 'Bruno');
	await waitFor('Ana’s cursor', async () => (await names(bruno)).join() === 'Ana');
	for (let n = 0; n < 4; n += 1) await bruno.keyboard.press('Shift+ArrowRight');
	await waitFor('the selection', async () => (await ana.locator('.chosen-2').allInnerTexts()).join('') === 'Onde');
	assert.equal(await ana.locator('.people li').count(), 2);
	await accessible(ana, 'the editor with cursors');
	await shot(ana, 'editor-cursors');
	// A user who opens the document later sees both cursors.
	const carla = await open('carla', Number(new URL(ana.url()).pathname.split('/').at(-1)));
	await waitFor('both', async () => (await names(carla)).sort().join() === 'Ana,Bruno');
	await bruno.goto(`${demo.url}/chat`);
	for (const page of [ana, carla]) await waitFor('his cursor to disappear', async () => !(await names(page)).includes('Bruno'));
	await carla.context().close();
	await waitFor('one', async () => await ana.locator('.people li').count() === 1);
});

test('cursors are whispered fewer than ten times a second', LIMIT, async () => {
	const [, ana, bruno] = await newDocument('Sussurros', 'ana', 'bruno');
	const page = await ana.context().newPage();
	// By the page's clock: on a busy machine, several frames reach the test at the same moment.
	await page.addInitScript(() => {
		window.whispered = [];
		const { send } = WebSocket.prototype;
		WebSocket.prototype.send = function (data) {
			if (String(data).includes('"client-')) window.whispered.push(performance.now());
			return send.call(this, data);
		};
	});
	const whispered = () => page.evaluate(() => window.whispered);
	await page.goto(ana.url());
	await text(page).waitFor();
	await connected(page);
	await text(page).click();
	await page.keyboard.type('muitas letras depressa, uma depois da outra, sem parar', { delay: 20 });
	await reads(bruno, ['muitas letras depressa, uma depois da outra, sem parar']);
	await waitFor('some whispers', async () => (await whispered()).length > 3);
	const sent = await whispered();
	const inOneSecond = Math.max(...sent.map((at) => sent.filter((other) => other >= at && other < at + 1000).length));
	assert.ok(inOneSecond <= 6, `${inOneSecond} in one second`);
});

test('a text too long for an event arrives complete', LIMIT, async () => {
	const [id, ana, bruno] = await newDocument('Texto longo', 'ana', 'bruno');
	const frames = [];
	const page = await bruno.context().newPage();
	page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => frames.push(String(payload))));
	await page.goto(bruno.url());
	await text(page).waitFor();
	await connected(page);
	const long = Array.from({ length: 40 }, (_, n) => `Parágrafo ${n}: ${'muito texto colado de uma vez. '.repeat(20)}`.trim());
	await text(ana).click();
	await ana.evaluate((paragraphs_) => {
		const data = new DataTransfer();
		data.setData('text/plain', paragraphs_.join('\n\n'));
		document.activeElement.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }));
	}, long);
	await reads(ana, long);
	for (const one of [bruno, page]) await reads(one, long);
	const events = frames.filter((frame) => frame.includes('DocumentUpdated'));
	assert.ok(events.some((frame) => frame.includes('null')), `it is announced: ${events.map((one) => one.length)}`);
	assert.ok(events.every((frame) => frame.length < 10_000));
	assert.equal((await request(ana, 'GET', '/api/documents')).body.find((one) => one.id === id).title, 'Texto longo');
});

test('a new document appears in all lists, and a document of others is refused', LIMIT, async () => {
	browser.expect(/403/);
	const [ana, carla] = [await logIn(browser, demo.url, 'ana'), await logIn(browser, demo.url, 'carla')];
	await ana.goto(`${demo.url}/editor`);
	await carla.goto(`${demo.url}/editor`);
	await connected(carla);
	await carla.locator('.document').first().waitFor();
	await ana.getByRole('button', { name: 'Novo documento' }).click();
	await ana.keyboard.type('Ideias para sexta');
	await shot(ana, 'editor-new');
	await ana.keyboard.press('Enter');
	await ana.getByRole('heading', { name: 'Ideias para sexta' }).waitFor();
	await text(ana).waitFor();
	await shot(ana, 'editor-empty');
	await carla.locator('.document').getByText('Ideias para sexta').waitFor();
	await carla.locator('.document').getByText('Rascunho de Bruno e Carla').waitFor();
	assert.equal(await ana.getByText('Rascunho de Bruno e Carla').count(), 0);
	await ana.goto(`${demo.url}/editor/3`);
	await ana.getByText('Sem acesso a este documento').waitFor();
	await accessible(ana, 'the refusal');
	await shot(ana, 'editor-forbidden');
});

test('redo puts the caret behind the text that it brings back', LIMIT, async () => {
	const [, ana] = await newDocument('Refazer', 'ana');
	await toEnd(ana);
	// Undo takes back at once what was inserted within half a second.
	for (const [word, all] of [['um ', 'um '], ['dois ', 'um dois '], ['três', 'um dois três']]) {
		await ana.keyboard.insertText(word);
		await reads(ana, [all]);
		await delay(700);
	}
	const undo = ana.getByRole('button', { name: 'Desfazer (só o que você fez)' });
	const redo = ana.getByRole('button', { name: 'Refazer', exact: true });
	for (const expected of ['um dois ', 'um ']) {
		await undo.click();
		await reads(ana, [expected]);
	}
	for (const expected of ['um dois ', 'um dois três']) {
		await redo.click();
		await reads(ana, [expected]);
	}
	await ana.keyboard.type('!');
	await reads(ana, ['um dois três!']);
});

test('text typed right before a reload is kept', LIMIT, async () => {
	const [id, ana] = await newDocument('Recarregar', 'ana');
	await toEnd(ana);
	await ana.evaluate(() => {
		// Before anything else runs, as with a fast reader of the keys.
		document.querySelector('.document-text').addEventListener('input', () => { if (document.body.textContent.includes('fim!')) location.reload(); });
	});
	await ana.keyboard.type('até o fim!');
	await ana.waitForLoadState();
	await reads(ana, ['até o fim!']);
	const bruno = await open('bruno', id);
	await reads(bruno, ['até o fim!']);
});

test('edits are sent while the storage is full or forbidden, even right before the page is closed', LIMIT, async () => {
	for (const how of ['full', 'forbidden']) {
		const ana = await logIn(browser, demo.url, 'ana');
		const id = await create(ana, `Sem armazenamento: ${how}`);
		await ana.context().addInitScript((kind) => {
			const fail = () => { throw new DOMException(kind, kind === 'full' ? 'QuotaExceededError' : 'SecurityError'); };
			if (kind === 'full') Storage.prototype.setItem = fail;
			else Object.defineProperty(window, 'sessionStorage', { get: fail });
		}, how);
		await ana.goto(`${demo.url}/editor/${id}`);
		await toEnd(ana);
		await ana.keyboard.type('mesmo assim');
		await saved(ana);
		await ana.keyboard.type(', tudo');
		await ana.close({ runBeforeUnload: true });
		const bruno = await open('bruno', id);
		await reads(bruno, ['mesmo assim, tudo']);
		await bruno.context().close();
	}
});

test('documents can be renamed and deleted, and everybody sees it', LIMIT, async () => {
	const [id, ana, bruno] = await newDocument('Nome provisório', 'ana', 'bruno');
	const title = ana.getByRole('textbox', { name: 'Título' });
	await title.fill('Nome definitivo');
	await title.press('Enter');
	for (const page of [ana, bruno]) {
		await page.locator(`a.document[href="/editor/${id}"]`).getByText('Nome definitivo').waitFor();
		await page.getByRole('heading', { name: 'Nome definitivo' }).waitFor();
	}
	// From the list too, and Escape changes nothing.
	const menu = async (item) => {
		await ana.getByRole('button', { name: 'Opções de “Nome definitivo”' }).click();
		await ana.getByRole('menuitem', { name: item }).click();
	};
	await menu('Renomear');
	await ana.locator('[name=new-title]').fill('outro');
	await ana.locator('[name=new-title]').press('Escape');
	await ana.getByRole('heading', { name: 'Nome definitivo' }).waitFor();

	await menu('Excluir');
	const dialog = ana.getByRole('alertdialog', { name: 'Excluir “Nome definitivo”?' });
	await dialog.waitFor();
	await accessible(ana, 'the question');
	await shot(ana, 'editor-delete');
	await dialog.getByRole('button', { name: 'Cancelar' }).click();
	await dialog.waitFor({ state: 'detached' });
	await menu('Excluir');
	await dialog.getByRole('button', { name: 'Excluir' }).click();
	for (const page of [ana, bruno]) {
		await page.waitForURL(`${demo.url}/editor`);
		await page.getByText('O documento “Nome definitivo” foi excluído.').first().waitFor();
		assert.equal(await page.locator(`a.document[href="/editor/${id}"]`).count(), 0);
	}
});

test('each paragraph has the direction of its language', LIMIT, async () => {
	const [, ana] = await newDocument('Direções', 'ana');
	await toEnd(ana);
	await ana.keyboard.type('Olá');
	await ana.keyboard.press('Enter');
	await ana.keyboard.type('שלום');
	await reads(ana, ['Olá', 'שלום']);
	const left = (n) => text(ana).locator('p').nth(n).evaluate((one) => {
		const range = document.createRange();
		range.selectNodeContents(one);
		return range.getBoundingClientRect().left - one.getBoundingClientRect().left;
	});
	assert.ok(await left(0) < 5, 'from the left');
	assert.ok(await left(1) > 100, 'from the right');
});

test('the page shows that a document is loading, and that loading has failed', LIMIT, async () => {
	browser.expect(/400/);
	const page = await logIn(browser, demo.url, 'ana');
	let answer;
	const held = new Promise((resolve) => { answer = resolve; });
	await page.route('**/sync', async (route) => {
		await held;
		// With this status, the page does not try again by itself.
		await route.fulfill({ status: 400, json: { code: 'broken' } });
	});
	await page.goto(`${demo.url}/editor/1`);
	await page.getByRole('status', { name: 'Carregando o documento…' }).waitFor();
	await shot(page, 'editor-loading');
	answer();
	await page.getByRole('alert').getByText('Não foi possível carregar').waitFor();
	await accessible(page, 'the error');
	await shot(page, 'editor-error');
	await page.unroute('**/sync');
	// The document loads before the editor.
	let load;
	const editorHeld = new Promise((resolve) => { load = resolve; });
	await page.route('**/DocumentText-*.js', async (route) => {
		await editorHeld;
		await route.continue();
	});
	const editor = page.waitForRequest('**/DocumentText-*.js');
	// A subscription that comes late loads the document, too.
	await page.getByRole('button', { name: 'Tentar de novo' }).or(page.getByRole('status', { name: 'Carregando o documento…' })).click();
	await editor;
	await page.getByRole('status', { name: 'Carregando o documento…' }).waitFor();
	load();
	await text(page).waitFor();
});

test('the page fits and is accessible in both languages, both themes and all sizes', LIMIT, async () => {
	const [id, ana] = await newDocument('Ata de quinta-feira', 'ana');
	await ana.getByRole('button', { name: 'Título', exact: true }).click();
	await ana.keyboard.type('Reunião de produto\n');
	await ana.keyboard.type('Presentes: Ana, Bruno e Carla. Começamos às 10h com os números do mês.\n- O painel novo está no ar\nO relatório fica para sexta\n\n');
	await ana.keyboard.type('> Mais simples primeiro, e só então mais rápido.\n\n');
	await saved(ana);
	const bruno = await open('bruno', id);
	await text(bruno).locator('p').nth(1).click();
	for (const [size, viewport] of Object.entries({ narrow: { width: 360, height: 740 }, wide: { width: 1280, height: 800 } })) {
		for (const [colorScheme, locale] of [['light', 'pt-BR'], ['dark', 'en-GB']]) {
			const page = await open('carla', id, demo.url, { viewport, colorScheme, locale });
			await page.locator('.caret').first().waitFor();
			await accessible(page, `${size}, ${colorScheme}`);
			await fits(page, `${size}, ${colorScheme}`);
			await shot(page, `editor-${size}-${colorScheme}`);
			await page.context().close();
		}
	}
	// Keyboard: the toolbar is a single tab stop, and Tab leaves the text.
	const page = await open('carla', id);
	await page.getByRole('button', { name: 'Título', exact: true }).focus();
	await page.keyboard.press('ArrowRight');
	assert.equal(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), 'Subtítulo');
	await page.keyboard.press('Tab');
	assert.equal(await page.evaluate(() => document.activeElement.getAttribute('role')), 'textbox');
	await page.keyboard.press('Tab');
	assert.notEqual(await page.evaluate(() => document.activeElement.getAttribute('role')), 'textbox');
});

test('the layout does not shift while a document loads', LIMIT, async () => {
	const [id] = await newDocument('Sem saltos', 'ana');
	const page = await logIn(browser, demo.url, 'ana');
	await page.goto(`${demo.url}/editor/${id}`);
	await text(page).waitFor();
	const { shift } = await painted(page);
	assert.ok(shift < 0.1, `the cumulative layout shift is ${shift}`);
});
