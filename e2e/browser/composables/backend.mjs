// The backend of the examples: pages, records, and signatures for the user named in the cookie.

import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';
import Pusher from 'pusher';
import { app } from '../../support/server.mjs';

export async function startBackend(clarimPort, pages) {
	const pusher = new Pusher({
		...app,
		host: '127.0.0.1',
		port: String(clarimPort),
		useTLS: false,
		encryptionMasterKeyBase64: Buffer.alloc(32, 'clarim').toString('base64'),
	});
	/** The application's data. */
	const stored = { notifications: [], read: [], shipped: [], asked: [], order: null };

	const routes = {
		'/broadcasting/auth': ({ user, body }) => authorize(pusher, user, new URLSearchParams(body)),
		'/broadcasting/user-auth': ({ user, body }) => [200, pusher.authenticateUser(
			new URLSearchParams(body).get('socket_id'), { ...user, id: String(user.id) },
		)],
		'/notifications': () => {
			const unread = stored.notifications.filter((row) => !row.read_at).length;
			return [200, { data: stored.notifications, unread }];
		},
		'/notifications/read': ({ body }) => {
			stored.read.push(JSON.parse(body).ids);
			return [200, {}];
		},
		'/notifications/read-all': () => {
			stored.read.push('all');
			return [200, {}];
		},
		'/orders/7': () => [200, stored.order],
		'/orders/7/shipped': ({ url }) => {
			stored.asked.push(url.searchParams.get('after'));
			return [200, stored.shipped];
		},
		'/news': async ({ body, request }) => {
			const from = { socket_id: request.headers['x-socket-id'] };
			await pusher.trigger('news', 'App\\Events\\NewsPublished', { title: body }, from);
			return [200, {}];
		},
	};

	async function answer(request, response) {
		const url = new URL(request.url, 'http://localhost');
		const route = routes[url.pathname];
		if (!route) {
			const file = extname(url.pathname) ? url.pathname : 'index.html';
			const type = { '.js': 'text/javascript', '.html': 'text/html; charset=utf-8' }[extname(file)];
			response.writeHead(200, { 'Content-Type': type }).end(await readFile(join(pages, file)));
			return;
		}
		let body = '';
		for await (const chunk of request) body += chunk;
		const cookie = request.headers.cookie?.match(/user=([^;]+)/);
		const user = cookie && JSON.parse(decodeURIComponent(cookie[1]));
		const [status, data] = await route({ request, url, body, user });
		response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(data));
	}

	const server = createServer((request, response) => {
		answer(request, response).catch((error) => response.writeHead(500).end(error.stack));
	}).listen(0, '127.0.0.1');
	await once(server, 'listening');
	return {
		pusher,
		stored,
		url: `http://127.0.0.1:${server.address().port}`,
		close() {
			server.closeAllConnections();
			server.close();
		},
	};
}

/** Every user may subscribe to every channel, except for Ana's orders. */
function authorize(pusher, user, form) {
	const [socket, channel] = [form.get('socket_id'), form.get('channel_name')];
	if (channel.startsWith('private-orders.') && user.id !== 1) return [403, { message: 'Forbidden.' }];
	const member = { user_id: user.id, user_info: { id: user.id, name: user.name } };
	return [200, pusher.authorizeChannel(socket, channel, channel.startsWith('presence-') ? member : undefined)];
}
