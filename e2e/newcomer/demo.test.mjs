// `cargo xtask demo` in a fresh clone of the repository.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { freePort } from '../support/ports.mjs';
import { built } from '../support/server.mjs';
import { logIn } from '../browser/demo/demo.mjs';
import { Browser, temporary, waitFor } from '../browser/support.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));
const folder = temporary('demo-start');
let browser;

before(async () => { browser = await Browser.launch(); });

after(async () => {
	await browser?.close();
	folder.remove();
});

/** Runs it in a terminal of its own. Ctrl-C goes to all processes in it, `kill` to the command only. */
async function start(database) {
	const port = await freePort();
	const child = spawn('cargo', ['xtask', 'demo'], {
		cwd: root, detached: true, stdio: ['ignore', 'pipe', 'pipe'],
		env: {
			...process.env, ADDRESS: `127.0.0.1:${port}`, DATABASE_URL: `sqlite:${join(folder.path, database)}`,
			npm_config_prefer_offline: 'true',
		},
	});
	let output = '';
	for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => { output += text; });
	let ended;
	child.once('close', (code, signal) => { ended = { code, signal }; });
	const end = () => { if (!ended) process.kill(-child.pid, 'SIGKILL'); };
	process.once('exit', end);
	const url = `http://localhost:${port}`;
	await waitFor(`the demo at ${url}`, () => {
		if (ended) throw new Error(output);
		return output.includes('users: ana, bruno, carla; password: clarim');
	}, 240_000).catch((error) => {
		end();
		throw new Error(`${error.message}\n${output}`);
	});
	assert.ok(output.includes(url), output);
	return {
		url,
		async stop(signal, pid) {
			process.kill(pid ?? child.pid, signal);
			await waitFor(`its end by ${signal}`, () => ended).finally(end);
			process.off('exit', end);
			assert.deepEqual(ended, { code: 0, signal: null }, output);
			await assert.rejects(fetch(url), 'no process is left');
		},
		interrupt() {
			return this.stop('SIGINT', -child.pid);
		},
	};
}

test('one command builds and starts the demo, and Ctrl-C ends it', { timeout: 300_000 }, async () => {
	const demo = await start('first.sqlite');
	const page = await logIn(browser, demo.url, 'ana');
	await page.locator('.conversation').first().waitFor();
	await browser.endTest();
	await demo.interrupt();
});

test('a signal to the command itself ends all its processes too', { timeout: 300_000 }, async () => {
	const demo = await start('second.sqlite');
	await demo.stop('SIGTERM');
});

/** A fake program that prints this version. */
function program(dir, name, version) {
	writeFileSync(join(dir, name), `#!/bin/sh\necho ${version}\n`, { mode: 0o755 });
}

test('with a missing or old Node it reports what to install', async () => {
	const xtask = built('xtask');
	const say = (path) => new Promise((resolve) => {
		execFile(xtask, ['demo'], { cwd: root, env: { ...process.env, PATH: path } }, (error, stdout) => {
			resolve({ code: error?.code, stdout });
		});
	});
	// All programs except Node.
	const others = join(folder.path, 'others');
	mkdirSync(others);
	for (const dir of process.env.PATH.split(delimiter)) {
		let names = [];
		try { names = readdirSync(dir); } catch { /* Not every directory of a path exists. */ }
		for (const name of names.filter((one) => !/^(node|nodejs|npm|npx)$/.test(one))) {
			try { symlinkSync(join(dir, name), join(others, name)); } catch { /* The first of a name counts. */ }
		}
	}
	const get = 'install Node 20 or later with npm, from https://nodejs.org';
	assert.deepEqual(await say(others), {
		code: 1, stdout: `\nerror: the pages are built with Node, and there is no program node here: ${get}\n`,
	});
	const old = join(folder.path, 'old');
	mkdirSync(old);
	program(old, 'node', 'v18.19.0');
	assert.deepEqual(await say(`${old}${delimiter}${others}`), {
		code: 1, stdout: `\nerror: Node v18.19.0 is too old to build the pages: ${get}\n`,
	});
	program(old, 'node', 'v22.22.2');
	const { stdout } = await say(`${old}${delimiter}${others}`);
	assert.match(stdout, /there is no program npm here/);
});
