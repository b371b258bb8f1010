// Chromium offers permessage-deflate without any code in the page.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import Pusher from 'pusher';
import { app, startServer } from '../support/server.mjs';
import { Browser } from './support.mjs';

const LIMIT = { timeout: 300_000 };

let clarim;
let browser;

before(async () => {
	const env = { CLARIM_COMPRESSION: 'true' };
	[clarim, browser] = await Promise.all([startServer({ env }), Browser.launch()]);
}, LIMIT);

after(async () => {
	await browser?.close();
	await clarim?.dispose();
});

test('Chromium negotiates compression, and compressed messages arrive', LIMIT, async () => {
	const page = await (await browser.context()).newPage();
	const extensions = await page.evaluate((url) => new Promise((resolve, reject) => {
		const socket = new WebSocket(url);
		window.heard = new Promise((hear) => {
			socket.onmessage = ({ data }) => {
				const message = JSON.parse(data);
				// Long enough to be compressed, so that the server has to inflate a message too.
				const noise = 'x'.repeat(1000);
				if (message.event === 'pusher:connection_established') {
					socket.send(JSON.stringify({ event: 'pusher:subscribe', data: { channel: 'rows', noise } }));
				}
				if (message.event === 'pusher_internal:subscription_succeeded') resolve(socket.extensions);
				if (message.event === 'changed') hear(JSON.parse(message.data));
			};
		});
		socket.onerror = () => reject(new Error('no connection'));
	}), `ws://127.0.0.1:${clarim.port}/app/${app.key}?protocol=7`);
	assert.match(extensions, /^permessage-deflate; server_no_context_takeover; client_no_context_takeover$/);
	const rows = Array.from({ length: 200 }, (_, n) => ({ id: n * 37, user: `user-${n}`, text: 'olá' }));
	const backend = new Pusher({ ...app, host: '127.0.0.1', port: String(clarim.port), useTLS: false });
	await backend.trigger('rows', 'changed', rows);
	assert.deepEqual(await page.evaluate(() => window.heard), rows);
	browser.check();
});
