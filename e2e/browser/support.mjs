// Support for browser tests: a Chromium whose errors fail the test, and polling with a timeout.

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

/** Polls until the result is truthy. */
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
		if (Date.now() > end) throw new Error(`timeout after ${timeout} ms while waiting for: ${what}`, { cause: problem });
		await delay(50);
	}
}

/** A temporary directory; `remove` deletes it. */
export function temporary(name) {
	const path = mkdtempSync(join(tmpdir(), `clarim-${name}-`));
	return { path, remove: () => rmSync(path, { recursive: true, force: true, maxRetries: 5 }) };
}

const ARGUMENTS = [
	'--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
	'--disable-component-update', '--disable-sync',
];

/** A time zone in which it is past noon: "today" and "yesterday" are the same whenever a test runs. */
function noon() {
	const offset = 12 - new Date().getUTCHours();
	// POSIX counts these zones westwards.
	return `Etc/GMT${offset > 0 ? '-' : '+'}${Math.abs(offset)}`;
}

/** A Chromium whose unexpected errors and warnings fail the test. */
export class Browser {
	problems = [];
	#expected = [];

	static async launch() {
		const browser = new Browser();
		// Playwright creates a fresh profile directory and removes it. The shell is Chromium without its user
		// interface, which takes more CPU time than the pages of the tests.
		browser.chromium = await chromium.launch({
			executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium-headless-shell', args: ARGUMENTS,
		});
		return browser;
	}

	/** A separate user: contexts share nothing. */
	async context(options = {}) {
		const context = await this.chromium.newContext({ locale: 'en-GB', timezoneId: noon(), ...options });
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

	/** Allows errors that the test provokes, such as refused connections while the server is down. */
	expect(pattern) {
		this.#expected.push(pattern);
	}

	#note(text) {
		// Of a page that is left while it connects.
		if (text.includes('WebSocket is closed before the connection is established')) return;
		if (!this.#expected.some((pattern) => pattern.test(text))) this.problems.push(text);
	}

	/** Closes the contexts of a test and fails on unexpected errors. */
	async endTest() {
		await Promise.all(this.chromium.contexts().map((context) => context.close()));
		this.check();
	}

	/** Fails if there have been unexpected errors. */
	check() {
		const problems = this.problems.splice(0);
		this.#expected = [];
		if (problems.length) throw new Error(`the browser reports errors:\n${problems.join('\n')}`);
	}

	async close() {
		await this.chromium.close();
	}
}

/** Chromium's errors while a server is down. */
export const REFUSED = /WebSocket connection to .* failed|ERR_CONNECTION_(REFUSED|RESET)|ERR_EMPTY_RESPONSE/;

/** Chromium's errors when the network is cut, including unused connections. */
export const CUT = new RegExp(`${REFUSED.source}|ERR_(SOCKET_NOT_CONNECTED|NETWORK_CHANGED|INTERNET_DISCONNECTED)`);
