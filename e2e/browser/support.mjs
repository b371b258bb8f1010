// What every browser test needs: a Chromium that is watched, and patience.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as delay } from 'node:timers/promises';
import { chromium } from 'playwright-core';
import { PATIENCE } from '../support/events.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));

export const artefacts = join(here, '../artefacts');
mkdirSync(artefacts, { recursive: true });

/** Asks again and again until the answer is truthy. */
export async function waitFor(what, ask, timeout = PATIENCE) {
	const end = Date.now() + timeout;
	let problem;
	for (;;) {
		try {
			const answer = await ask();
			if (answer) return answer;
			problem = undefined;
		} catch (error) {
			problem = error;
		}
		if (Date.now() > end) throw new Error(`waited ${timeout} ms in vain for: ${what}`, { cause: problem });
		await delay(50);
	}
}

/** A directory that goes when the test is over. */
export function temporary(name) {
	const path = mkdtempSync(join(tmpdir(), `clarim-${name}-`));
	return { path, remove: () => rmSync(path, { recursive: true, force: true, maxRetries: 5 }) };
}

const ARGUMENTS = [
	'--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
	'--disable-component-update', '--disable-sync',
];

/** A Chromium whose pages may not complain of anything that the test does not expect. */
export class Browser {
	problems = [];
	#expected = [];

	static async launch() {
		const browser = new Browser();
		// Without a directory of ours, Playwright makes a fresh one for the profile and removes it.
		browser.chromium = await chromium.launch({
			executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ARGUMENTS,
		});
		return browser;
	}

	/** A user of their own: nothing is shared with another context. */
	async context(options = {}) {
		const context = await this.chromium.newContext({ locale: 'en-GB', ...options });
		context.setDefaultTimeout(PATIENCE);
		await context.addInitScript(() => {
			document.addEventListener('securitypolicyviolation', (event) => {
				console.error(`CSP violation: ${event.violatedDirective} ${event.blockedURI}`);
			});
		});
		context.on('console', (message) => {
			const type = message.type();
			if (type === 'error' || type === 'warning') this.#note(`console ${type}: ${message.text()}`);
		});
		context.on('weberror', (error) => this.#note(`page error: ${error.error().stack}`));
		return context;
	}

	/** Allows what the test provokes, such as refused connections while the server is down. */
	expect(pattern) {
		this.#expected.push(pattern);
	}

	#note(text) {
		if (!this.#expected.some((pattern) => pattern.test(text))) this.problems.push(text);
	}

	/** Closes what a test has opened, and looks whether the browser complained. */
	async endTest() {
		await Promise.all(this.chromium.contexts().map((context) => context.close()));
		this.check();
	}

	/** Whether the browser complained, so far. */
	check() {
		const problems = this.problems.splice(0);
		this.#expected = [];
		if (problems.length) throw new Error(`the browser complains:\n${problems.join('\n')}`);
	}

	async close() {
		await this.chromium.close();
	}
}

/** What Chromium says while a server is away. */
export const REFUSED = /WebSocket connection to .* failed|ERR_CONNECTION_(REFUSED|RESET)|ERR_EMPTY_RESPONSE/;

/** And while a network that is cut has connections that are not used yet. */
export const CUT = new RegExp(`${REFUSED.source}|ERR_(SOCKET_NOT_CONNECTED|NETWORK_CHANGED|INTERNET_DISCONNECTED)`);
