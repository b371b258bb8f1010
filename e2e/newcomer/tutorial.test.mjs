// Follows docs/tutorial.md literally: writes every file and runs every command, in order.

import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePort } from '../support/ports.mjs';
import { binary } from '../support/server.mjs';
import { blocks, numbers, strays } from './page.mjs';
import { artefacts, Browser, REFUSED, temporary, waitFor } from '../browser/support.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));
const folder = temporary('tutorial');
const work = folder.path;
const chat = join(work, 'chat');
const page = blocks('tutorial.md');
/** The blocks that have been written, run or compared. */
const used = new Set();

/** The code of a block, for use by a test. */
function use(block) {
	used.add(block);
	return block.code;
}

/** Running processes of the tutorial, by command. */
const running = new Map();
let browser, environment, url;

/** The sections of the tutorial on Laravel. */
const SECTIONS = '1 1.1 1.2 1.3 2 2.1 2.2 2.3 2.4 3 3.1 3.2 3.3 4 4.1 4.2 4.3 5 6 6.1 6.2 7 7.1 7.2 8 8.1 8.2 8.3 '
	+ '9 9.1 9.2 9.3 9.4 10 11 11.1 11.2 11.3 12 13';

before(async () => {
	const [server, application] = await Promise.all([freePort(), freePort()]);
	url = `http://localhost:${application}`;
	mkdirSync(join(work, 'bin'));
	symlinkSync(binary, join(work, 'bin/clarim'));
	environment = {
		...process.env,
		PATH: `${join(work, 'bin')}:${process.env.PATH}`,
		// The ports of the tutorial may be taken here.
		ADDRESS: `127.0.0.1:${application}`,
		REVERB_SERVER_PORT: server, REVERB_PORT: server, VITE_REVERB_PORT: server,
		// Crates and packages are already there for other tests, crates without debug information.
		CARGO_TARGET_DIR: join(root, 'target'),
		CARGO_PROFILE_DEV_DEBUG: '0',
		CARGO_INCREMENTAL: '0',
		npm_config_prefer_offline: 'true', npm_config_audit: 'false', npm_config_fund: 'false',
	};
	browser = await Browser.launch();
});

after(async () => {
	for (const { child } of running.values()) child.kill('SIGKILL');
	await browser?.close();
	folder.remove();
});

/**
 * Runs the commands of a block. A server keeps running and replaces the earlier one with the same command.
 */
async function follow(block) {
	const { section } = block;
	const code = use(block);
	const here = section === '2.1' && code.startsWith('git') ? work : chat;
	const lines = code.trimEnd().split('\n').map(forTest);
	const last = lines.at(-1);
	const stays = last === 'cargo run' || last === 'clarim start --debug';
	const script = (stays ? lines.slice(0, -1) : lines).join('\n');
	const { stdout } = await promisify(execFile)('bash', ['--norc', '-euo', 'pipefail', '-c', script], { cwd: here, env: environment })
		.catch((error) => { throw new Error(`section ${section}:\n${script}\n${error.stdout}\n${error.stderr}`); });
	if (stays) await leaveRunning(last);
	return stdout;
}

/** Uses local copies in place of downloads. */
function forTest(line) {
	if (line.startsWith('git clone')) return `mkdir clarim && git -C ${root} ls-files -z | (cd ${root} && xargs -0 cp --parents -t ${work}/clarim)`;
	if (line.startsWith('cargo install')) return 'clarim --version';
	// The versions that this project is tested with.
	if (line.startsWith('cargo new')) return `${line} && cp clarim/Cargo.lock chat/`;
	return line.replaceAll('localhost:8000', url.replace('http://', ''));
}

async function leaveRunning(command) {
	if (running.has(command)) {
		const { child, ended } = running.get(command);
		child.kill('SIGTERM');
		await ended;
	}
	// The signal has to reach the application instead of cargo.
	const cargo = command === 'cargo run';
	if (cargo) await promisify(execFile)('cargo', ['build'], { cwd: chat, env: environment, maxBuffer: 1 << 26 });
	const [program, ...args] = cargo ? [join(root, 'target/debug/chat')] : command.split(' ');
	const child = spawn(program, args, { cwd: chat, env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
	let output = '';
	for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => { output += text; });
	const ended = new Promise((resolve) => { child.once('close', resolve); });
	running.set(command, { child, ended, output: () => output });
	await waitFor(`${command} to listen`, () => {
		if (child.exitCode !== null) throw new Error(output);
		return output.includes('http://');
	}).catch((error) => { throw new Error(`${error.message}; it says:\n${output}`, { cause: error }); });
}

function write(block) {
	const file = join(chat, block.name);
	mkdirSync(dirname(file), { recursive: true });
	writeFileSync(file, use(block));
}

/** Writes and runs all blocks from one section to another. */
async function play(from, to) {
	const is = (wanted) => ({ section }) => section === wanted;
	const [first, last] = [page.findIndex(is(from)), page.findLastIndex(is(to))];
	assert.ok(0 <= first && first <= last, `there is no code in ${from} or ${to}`);
	for (const block of page.slice(first, last + 1)) {
		if (block.name) write(block);
		else if (block.language === 'sh') await follow(block);
		else if (block.language === 'diff') {
			execFileSync('patch', ['-p0'], { cwd: chat, input: use(block) });
		}
	}
}

const find = (section, language) => page.filter((block) => block.section === section && block.language === language);

/** A browser context of a user, and the output of its console. */
async function open(path) {
	const context = await browser.context();
	const tab = await context.newPage();
	const lines = [];
	tab.on('console', (message) => lines.push(message.text()));
	await tab.goto(url + path);
	return { tab, lines, close: () => context.close() };
}

/** Runs code in the console. */
const type = ({ tab }, block) => tab.evaluate(`(async () => { ${use(block)} })()`);

/** Waits until the console shows each line of a block. */
async function says({ lines }, block) {
	for (const line of use(block).trimEnd().split('\n')) {
		await waitFor(`the console to say: ${line}`, () => lines.includes(line))
			.catch((error) => { throw new Error(`${error.message}; it says:\n${lines.join('\n')}`); });
	}
}

const names = (text) => [...text.matchAll(/^(\w+)=/gm)].map(([, name]) => name);

/** The only block with translated text. */
const isDrawing = ({ section, language }) => section === '1.3' && language === 'text';

test('both languages have the sections of the tutorial on Laravel, and the same code', () => {
	for (const file of ['tutorial.md', 'tutorial.pt-BR.md']) {
		const there = numbers(file);
		assert.deepEqual(SECTIONS.split(' ').filter((number) => !there.includes(number)), [], file);
	}
	const code = (file) => blocks(file).map((block) => (isDrawing(block) ? { ...block, code: 'translated' } : block));
	assert.deepEqual(code('tutorial.pt-BR.md'), code('tutorial.md'));
});

test('the drawing is the same in both languages, and its lines meet', () => {
	const [drawing, translated] = ['tutorial.md', 'tutorial.pt-BR.md'].map((file) => blocks(file).find(isDrawing).code);
	for (const lines of [drawing, translated].map((code) => code.split('\n'))) {
		for (const [row, line] of lines.entries()) {
			for (const { 0: sign, index } of line.matchAll(/[┌┐│▲]/g)) {
				assert.match(lines[row + 1][index] ?? '', /[│└┘┴▼]/, `below ${sign} at ${index} in\n${line}`);
			}
		}
	}
	const signs = (code) => code.match(/[^\s\w(),─│\p{L}]/gu).join('');
	assert.equal(signs(translated), signs(drawing));
	use(page.find(isDrawing));
});

/** Code of the application in apps/inertia. */
const isOfInertia = ({ section }) => section === '7.3';

test('the code on Inertia is part of its application', () => {
	const listed = execFileSync('git', ['ls-files', 'apps/inertia/src', 'apps/inertia/web/src'], { cwd: root, encoding: 'utf8' });
	const unindented = (code) => code.replaceAll(/^[ \t]+/gm, '').trim();
	const files = listed.trim().split('\n').map((file) => unindented(readFileSync(join(root, file), 'utf8')));
	const parts = page.filter(isOfInertia).map(use);
	assert.ok(parts.length);
	for (const code of parts) assert.ok(files.some((file) => file.includes(unindented(code))), code);
});

test('code shown without a file name is part of a file', () => {
	const files = page.filter(({ name }) => name).map(({ code }) => code);
	const parts = page.filter((block) => !block.name && block.language === 'rust' && !isOfInertia(block)).map(use);
	assert.ok(parts.length);
	for (const code of parts) assert.ok(files.some((file) => file.includes(code.trim())), code);
});

test('installing, and the first event', { timeout: 300_000 }, async () => {
	await play('2.1', '2.4');
	const [env] = find('2.2', 'env');
	assert.deepEqual(names(readFileSync(join(chat, '.env'), 'utf8')), names(use(env)));
	assert.match(running.get('clarim start --debug').output(), /CurrencyRateUpdated/);
});

test('kinds of channels', { timeout: 600_000 }, async () => {
	await play('3', '3.4');
	const [all, bruno, carla] = find('3.4', 'text');
	const ana = await open('/?user=Ana');
	await waitFor('Ana in the document', () => ana.lines.includes('Here: Ana'));
	for (const block of find('3.4', 'sh').filter(({ code }) => code.startsWith('curl'))) await follow(block);
	for (const block of find('3.4', 'js').filter(({ name }) => !name)) await type(ana, block);
	await says(ana, all);
	const other = await open('/?user=Bruno');
	await waitFor('Bruno in the document', () => ana.lines.includes('Bruno joined'));
	await other.close();
	await says(ana, bruno);
	browser.expect(/403/);
	const third = await open('/?user=Carla');
	await says(third, carla);
	await Promise.all([ana.close(), third.close()]);
	browser.check();
});

/** Logs in with the button. */
async function enter(name) {
	browser.expect(/401/);
	const window = await open('/');
	await window.tab.getByRole('button', { name }).click();
	await window.tab.getByRole('heading', { name }).waitFor();
	return window;
}

const chatOf = ({ tab }) => tab.getByRole('region', { name: 'Chat' });

test('the chat, whispers and notifications', { timeout: 600_000 }, async () => {
	await play('4.1', '8.3');
	const [ana, bruno] = [await enter('Ana'), await enter('Bruno')];
	for (const { tab } of [ana, bruno]) await tab.getByText('Here: ').filter({ hasText: 'Bruno' }).waitFor();
	assert.match(await bruno.tab.getByRole('status').first().innerText(), /Online/);

	await type(bruno, find('5', 'js')[0]);
	await type(ana, find('5', 'js')[1]);
	await waitFor('the whisper', () => bruno.lines.includes('Ana is typing…'));

	const draft = ana.tab.getByRole('textbox', { name: 'Message' });
	await draft.pressSequentially('Olá, <b>Bruno</b>!');
	await chatOf(bruno).getByText('Ana is typing…').waitFor();
	await draft.press('Enter');
	await chatOf(bruno).getByText('Ana: Olá, <b>Bruno</b>!').waitFor();
	await chatOf(bruno).getByText('Ana is typing…').waitFor({ state: 'detached' });
	assert.equal(await chatOf(ana).getByRole('listitem').count(), 1, 'the writer shows it once');

	await type(ana, find('6.2', 'js')[0]);
	await ana.tab.getByRole('button', { name: 'Pay invoice 7' }).click();
	await waitFor('the notification', () => ana.lines.includes('App\\Notifications\\InvoicePaid')
		&& ana.lines.includes('Invoice #7 has been paid!'));
	await ana.tab.getByRole('button', { name: '1 unread' }).waitFor();
	await ana.tab.screenshot({ path: join(artefacts, 'tutorial.png') });
	await ana.tab.getByRole('button', { name: 'Read', exact: true }).click();
	await ana.tab.getByRole('button', { name: '0 unread' }).waitFor();

	browser.expect(/403/);
	const carla = await enter('Carla');
	await chatOf(carla).getByText('You are not in this chat.').waitFor();
	await Promise.all([ana, bruno, carla].map(({ close }) => close()));
	browser.check();
});

test('missed events arrive after the reconnect', { timeout: 300_000 }, async () => {
	browser.expect(REFUSED);
	const [ana, bruno] = [await enter('Ana'), await enter('Bruno')];
	await chatOf(bruno).getByText('Here:').waitFor();
	await leaveRunning('clarim start --debug');
	const draft = ana.tab.getByRole('textbox', { name: 'Message' });
	await draft.fill('Still there?');
	await draft.press('Enter');
	await chatOf(bruno).getByText('Ana: Still there?').waitFor({ timeout: 30_000 });
	assert.ok(bruno.lines.some((line) => /^Connection: connected → \w+/.test(line)), bruno.lines.join('\n'));
	await Promise.all([ana, bruno].map(({ close }) => close()));
	browser.check();
});

test('settings for production', { timeout: 300_000 }, async () => {
	const [one] = find('9.3', 'env');
	const [scaling] = find('9.4', 'env');
	const settings = { ...environment };
	for (const name of ['REVERB_SERVER_PORT', 'REVERB_PORT', 'VITE_REVERB_PORT']) delete settings[name];
	const there = join(work, 'production');
	mkdirSync(there);
	const check = async (text) => {
		writeFileSync(join(there, '.env'), text);
		return (await promisify(execFile)('clarim', ['config', 'check'], { cwd: there, env: settings })).stdout;
	};
	assert.match(await check(use(one)), /app\.com/);
	assert.match(await check(use(one) + use(scaling)), /redis-cluster\.internal/);
	environment.QUEUE_CONNECTION = 'sqlite';
	environment.DATABASE_URL = 'sqlite:queue.sqlite';
	for (const block of find('9.3', 'sh')) await follow(block);
	delete environment.QUEUE_CONNECTION;
});

test('the dashboard, cursors, and troubleshooting', { timeout: 300_000 }, async () => {
	await play('11.2', '11.2');
	await follow(find('8.3', 'sh')[0]);
	const [ana, bruno] = [await enter('Ana'), await enter('Bruno')];
	for (const { tab } of [ana, bruno]) await tab.getByText('Here: ').filter({ hasText: 'Bruno' }).waitFor();
	await type(ana, find('11.3', 'js')[0]);
	await says(bruno, find('11.3', 'text')[0]);
	const dashboard = bruno.tab.getByRole('region', { name: 'Dashboard' });
	await dashboard.getByText('Polled: 2 messages of 1 people').waitFor();
	await dashboard.getByText('Pushed: 2 messages of 1 people').waitFor({ timeout: 35_000 });
	for (const block of find('12', 'sh')) await follow(block);
	await dashboard.getByText('Pushed: 1 messages of 1 people').waitFor();
	await Promise.all([ana, bruno].map(({ close }) => close()));
	browser.check();
});

/** Files that cargo, npm and Vite read by convention. */
const STARTS = ['src/main.rs', 'web/package.json', 'web/vite.config.js', 'web/index.html'];

test('every block of code on the page has been used', () => {
	assert.deepEqual(page.filter((block) => !used.has(block)), []);
	for (const file of ['tutorial.md', 'tutorial.pt-BR.md']) assert.deepEqual(strays(file), [], file);
	// A file that no other file imports would never be compiled.
	const files = [...new Set(page.map(({ name }) => name).filter(Boolean))];
	const program = files.map((name) => readFileSync(join(chat, name), 'utf8')).join('\n');
	const asked = [...program.matchAll(/^mod (\w+);|['"]\.?\/(?:src\/)?(\w+\.\w+)['"]/gm)]
		.map(([, module, file]) => (module ? `src/${module}.rs` : `web/src/${file}`));
	assert.deepEqual(files.filter((name) => ![...STARTS, ...asked].includes(name)), []);
});
