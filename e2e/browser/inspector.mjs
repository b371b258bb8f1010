// The page at /inspector, for tests.

export const TOKEN = 'inspector-0123456789';

export const id = (page, name) => page.locator(`#${name}`);
export const text = (locator) => locator.innerText();
export const tab = (page, name) => id(page, `tab-${name}`).click();

/** Opens the page of a server and enters the token. */
export async function enter(browser, server, options = {}) {
	const context = await browser.context(options);
	const page = await context.newPage();
	// The page's first request is without a token and is refused.
	browser.expect(/401/);
	await page.goto(`${server.url}/inspector`);
	await id(page, 'token').fill(TOKEN);
	await page.keyboard.press('Enter');
	await id(page, 'figures').locator('div').first().waitFor();
	return page;
}

/** Answers the page's question. Resolves with its text. */
export async function answer(page, isSure) {
	const question = await text(id(page, 'sure-question'));
	await id(page, isSure ? 'sure-yes' : 'sure-no').click();
	await id(page, 'sure').waitFor({ state: 'hidden' });
	return question;
}
