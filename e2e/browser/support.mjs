// What every browser test needs: a Clarim server, a Chromium that is watched, and patience.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as delay } from 'node:timers/promises';
import { chromium } from 'playwright-core';

const here = fileURLToPath(new URL('.', import.meta.url));
const binary = resolve(here, '..', process.env.CLARIM_BIN ?? '../target/debug/clarim');

export const artefacts = join(here, '../artefacts');
mkdirSync(artefacts, { recursive: true });

export const app = { id: '123456', key: 'reverb-key', secret: 'reverb-secret' };

/** Asks again and again until the answer is truthy. */
export async function waitFor(what, ask, timeout = 10_000) {
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

/** A port that nobody listens on at the moment. */
export async function freePort() {
	const server = createServer().listen(0, '127.0.0.1');
	await once(server, 'listening');
	const { port } = server.address();
	server.close();
	await once(server, 'close');
	return port;
}

/** A directory that goes when the test is over. */
export function temporary(name) {
	const path = mkdtempSync(join(tmpdir(), `clarim-${name}-`));
	return { path, remove: () => rmSync(path, { recursive: true, force: true, maxRetries: 5 }) };
}

/**
 * A server of its own, on one port for its whole life, however often it is started.
 * With `development` none of the app's variables is set: the server makes an app
 * and serves its page at /playground.
 */
export class Server {
	#process;
	#directory = temporary('server');
	output = '';

	constructor(port, { development = false } = {}) {
		this.port = port;
		this.url = `http://127.0.0.1:${port}`;
		this.development = development;
	}

	static async start(options) {
		const server = new Server(await freePort(), options);
		await server.start();
		return server;
	}

	get running() {
		const child = this.#process;
		return child !== undefined && child.exitCode === null && child.signalCode === null;
	}

	/** Does nothing when it runs already. */
	async start() {
		if (this.running) return;
		const env = Object.fromEntries(Object.entries(process.env)
			.filter(([name]) => !/^(REVERB|PUSHER|CLARIM)_/.test(name)));
		env.CLARIM_STATE_DIR = join(this.#directory.path, 'state');
		if (!this.development) {
			Object.assign(env, {
				REVERB_APP_ID: app.id, REVERB_APP_KEY: app.key, REVERB_APP_SECRET: app.secret,
			});
		}
		const child = spawn(binary, ['start', '--host', '127.0.0.1', '--port', String(this.port)],
			{ cwd: this.#directory.path, env, stdio: ['ignore', 'pipe', 'pipe'] });
		this.#process = child;
		for (const stream of [child.stdout, child.stderr]) {
			stream.on('data', (chunk) => { this.output += chunk; });
		}
		let failure;
		child.on('error', (error) => { failure = error; });
		await waitFor('the server to listen', async () => {
			if (failure) throw failure;
			if (child.exitCode !== null) throw new Error(`it ended:\n${this.output}`);
			await fetch(`${this.url}/up`);
			return true;
		}).catch((error) => { throw new Error(`${error.message}\n${this.output}`, { cause: error }); });
	}

	/** SIGTERM drains the connections, SIGKILL drops them. */
	async stop(signal = 'SIGTERM') {
		if (!this.running) return;
		const child = this.#process;
		const ended = once(child, 'exit');
		child.kill(signal);
		const late = setTimeout(() => child.kill('SIGKILL'), 15_000);
		await ended;
		clearTimeout(late);
	}

	async end() {
		await this.stop('SIGKILL');
		this.#directory.remove();
	}
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
		context.setDefaultTimeout(10_000);
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

	/** To be called at the end of each test. */
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
