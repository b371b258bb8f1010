// The demo's first run: content in the language of the system.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { startDemo } from '../../support/demo.mjs';
import { accessible, connected, logIn, shot, text } from './demo.mjs';
import { Browser, REFUSED, waitFor } from '../support.mjs';

const LIMIT = { timeout: 300_000 };
let browser;

before(async () => {
	browser = await Browser.launch();
}, LIMIT);

after(() => browser?.close());
afterEach(() => browser.endTest());

for (const [seed, locale, words] of [
	['en', 'en-GB', { conversation: 'Team', message: 'I’m writing it in the document', document: 'Meeting notes', heading: 'Thursday’s meeting', note: 'The meeting is at three.' }],
	['pt-BR', 'pt-BR', { conversation: 'Equipe', message: 'Está no documento', document: 'Ata da reunião', heading: 'Reunião de quinta', note: 'A reunião é às três.' }],
]) {
	test(`in ${seed}, each page has something to show`, LIMIT, async () => {
		const demo = await startDemo({ SEED: seed });
		try {
			const page = await logIn(browser, demo.url, 'ana', { locale });
			const open = async (path) => {
				await page.goto(demo.url + path);
				await connected(page);
			};
			await page.locator('nav').getByText(words.conversation, { exact: true }).waitFor();
			await open('/chat/1');
			await page.locator('.message').getByText(words.message).waitFor();
			assert.equal(await page.locator('.day').count(), 2);
			await accessible(page, 'a conversation');
			await open('/notifications');
			await page.locator('.notification').getByText(words.note).waitFor();
			await open('/dashboard');
			// The line and not only its last point.
			await page.locator('[data-metric=cpu] summary').click();
			await waitFor('earlier samples', async () => await page.locator('[data-metric=cpu] tbody tr').count() >= 20);
			await open('/editor/1');
			await text(page).getByRole('heading', { name: words.heading }).waitFor();
			await page.locator('.document').getByText(words.document).waitFor();
			await accessible(page, 'a document');
			await shot(page, `first-run-${seed}`);
			// A restart adds nothing.
			browser.expect(REFUSED);
			await demo.stop();
			await demo.start();
			await open('/chat/1');
			await page.locator('.message').nth(8).waitFor();
			assert.equal(await page.locator('.message').count(), 9);
		} finally {
			await demo.dispose();
		}
	});
}
