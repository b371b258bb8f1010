// The page at /inspector, for the tests that look at it.

export const TOKEN = 'inspector-0123456789';

export const id = (page, name) => page.locator(`#${name}`);
export const text = (locator) => locator.innerText();
export const tab = (page, name) => id(page, `tab-${name}`).click();

/** The page of a server, as somebody who has the token sees it. */
export async function enter(browser, server, options = {}) {
	const context = await browser.context(options);
	const page = await context.newPage();
	// Without a token yet, the page asks once in vain.
	browser.expect(/401/);
	await page.goto(`${server.url}/inspector`);
	await id(page, 'token').fill(TOKEN);
	await page.keyboard.press('Enter');
	await id(page, 'figures').locator('div').first().waitFor();
	return page;
}

/** Answers the page's next question whether it is sure. Resolves with what it has asked. */
export function answer(page, isSure) {
	return new Promise((resolve) => {
		page.once('dialog', async (dialog) => {
			await (isSure ? dialog.accept() : dialog.dismiss());
			resolve(dialog.message());
		});
	});
}
