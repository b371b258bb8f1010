// Makes the pictures of README and the documentation from the running product: node e2e/pictures/make.mjs [FOLDER]

import { spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import serialize from '@xterm/addon-serialize';
import terminal from '@xterm/headless';
import sharp from 'sharp';
import { connected, logIn } from '../browser/demo/demo.mjs';
import { TOKEN, enter, id } from '../browser/inspector.mjs';
import { Browser } from '../browser/support.mjs';
import { traffic } from './traffic.mjs';
import { startDemo } from '../support/demo.mjs';
import { app, binary, startServer } from '../support/server.mjs';

const folder = resolve(process.argv[2] ?? fileURLToPath(new URL('../../docs/pictures', import.meta.url)));
await mkdir(folder, { recursive: true });
const file = (name) => join(folder, name);

/** Time between two pictures of the animation in ms. */
const PACE = 250;
const DESK = { width: 760, height: 560 };
const PHONE = { width: 390, height: 560 };
const GAP = 20;

async function save(png, name) {
	await sharp(png).png({ palette: true, effort: 10 }).toFile(file(name));
	console.log(name);
}

/** Two windows beside each other. */
const beside = (left, right) => sharp({
	create: { width: DESK.width + PHONE.width + 3 * GAP, height: DESK.height + 2 * GAP, channels: 3, background: '#0f766e' },
}).composite([{ input: left, left: GAP, top: GAP }, { input: right, left: DESK.width + 2 * GAP, top: GAP }]).png().toBuffer();

/** A conversation between two people, as a picture and as an animation. */
async function demo(browser) {
	const site = await startDemo({ SEED: 'en', METRICS_SECONDS: '5' });
	const [ana, bruno] = [
		await logIn(browser, site.url, 'ana', { locale: 'en-GB', viewport: DESK }),
		await logIn(browser, site.url, 'bruno', { locale: 'en-GB', viewport: PHONE }),
	];
	for (const page of [ana, bruno]) {
		await page.goto(`${site.url}/chat/2`);
		await connected(page);
		await page.locator('[role=log][aria-busy=false]').waitFor();
	}
	const frames = [];
	const look = async (times = 1) => {
		const frame = await beside(await ana.screenshot(), await bruno.screenshot());
		for (let n = 0; n < times; n += 1) frames.push(frame);
		await delay(40);
	};
	const say = async (page, text) => {
		for (const word of text.split(/(?<= )/)) {
			await page.locator('.composer').pressSequentially(word);
			await look();
		}
		await page.locator('.composer').press('Enter');
		await look(4);
	};
	await look(3);
	await say(bruno, 'Did the order of this morning arrive?');
	await say(ana, 'Yes, just now. Nobody reloaded a page.');
	await say(bruno, 'And what I missed in the tunnel is here, too.');
	await look(6);
	await save(frames.at(-1), 'demo.png');
	const animation = sharp(frames, { join: { animated: true } });
	await animation.webp({ delay: frames.map(() => PACE), loop: 0, effort: 6, quality: 70 }).toFile(file('demo.webp'));
	console.log('demo.webp');
	await site.dispose();
}

async function playground(browser) {
	const server = await startServer({ development: true });
	const page = await (await browser.context({ viewport: { width: 1280, height: 800 } })).newPage();
	await page.goto(`${server.url}/playground`);
	await page.locator('.connection[data-state=connected]').waitFor();
	await page.locator('input[name=kind][value=presence-]').check({ force: true });
	await id(page, 'subscribe').click();
	await page.locator('#subscriptions [data-state=subscribed]').waitFor();
	await id(page, 'send').click();
	await page.locator('.latency').first().waitFor();
	await save(await page.screenshot(), 'playground.png');
	await server.dispose();
}

/** What `clarim` shows in a terminal after some time, or at its end. */
async function shown(browser, args, { columns = 100, rows = 30, time } = {}) {
	const screen = new terminal.Terminal({ cols: columns, rows, allowProposedApi: true });
	const addon = new serialize.SerializeAddon();
	screen.loadAddon(addon);
	const command = `stty cols ${columns} rows ${rows}; exec ${[binary, ...args].map((part) => `'${part}'`).join(' ')}`;
	const child = spawn('script', ['-qfec', command, '/dev/null'], { env: { ...process.env, TERM: 'xterm-256color' } });
	child.stdout.on('data', (data) => screen.write(data));
	const ended = new Promise((end) => { child.once('close', end); });
	await (time ? delay(time) : ended);
	await new Promise((written) => { screen.write('', written); });
	const html = addon.serializeAsHTML({ includeGlobalBackground: true });
	child.kill();
	const page = await (await browser.context({ viewport: { width: 1000, height: 640 } })).newPage();
	await page.setContent(`<style>body{margin:0;width:max-content}body>div{background:#000;padding:12px}pre{margin:0;line-height:1.25}</style><div>${html}</div>`);
	const png = await page.locator('div').first().screenshot();
	await page.context().close();
	return png;
}

/** The inspector, `clarim top` and `clarim doctor` of a server with traffic. */
async function operation(browser) {
	const server = await startServer({ env: { CLARIM_INSPECTOR_TOKEN: TOKEN, CLARIM_APP_HISTORY: 'presence-*:100:10m' } });
	const stop = await traffic(server);
	const page = await enter(browser, server, { viewport: { width: 1280, height: 800 } });
	// The graphs need some time to have lines.
	await delay(45_000);
	await save(await page.screenshot(), 'inspector.png');
	await save(await shown(browser, ['top', '--url', server.url, '--token', TOKEN], { time: 4_000 }), 'top.png');
	await save(await shown(browser, ['doctor', server.url, '--app-id', app.appId, '--key', app.key, '--secret', app.secret], { rows: 11 }), 'doctor.png');
	stop();
	await server.dispose();
}

const browser = await Browser.launch();
try {
	await demo(browser);
	await playground(browser);
	await operation(browser);
} finally {
	await browser.close();
}
