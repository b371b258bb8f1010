// Clients and events of a small shop, so that a picture of the inspector has something to show.

import WebSocket from 'ws';
import { sdkFor } from '../support/clients.mjs';

/** Begins the traffic. Resolves with a function that ends it. */
export async function traffic(server) {
	const sdk = sdkFor(server);
	const join = (channels) => new Promise((joined, failed) => {
		const socket = new WebSocket(`${server.url.replace('http', 'ws')}/app/${server.key}?protocol=7`, { origin: 'https://shop.example' });
		socket.once('error', failed);
		socket.on('message', (text) => {
			const { event, data } = JSON.parse(text);
			if (event !== 'pusher:connection_established') return;
			const { socket_id: socketId } = JSON.parse(data);
			for (const [channel, user] of channels) {
				const auth = channel.startsWith('presence-') ? sdk.authorizeChannel(socketId, channel, { user_id: user, user_info: { name: user } })
					: channel.startsWith('private-') ? sdk.authorizeChannel(socketId, channel) : {};
				socket.send(JSON.stringify({ event: 'pusher:subscribe', data: { channel, ...auth } }));
			}
			joined(socket);
		});
	});
	const people = ['ana', 'bruno', 'carla', 'davi', 'elisa'];
	const sockets = [];
	for (let n = 0; n < 40; n += 1) {
		sockets.push(await join([['news', ''], [`private-orders.${1000 + n}`, ''], ['presence-chat.1', people[n % 5]]]));
	}
	let n = 0;
	const timer = setInterval(() => {
		n += 1;
		const order = { zebra: n, id: 1000 + (n % 40), total: 'R$ 1.234,50', items: [{ sku: 'A-1', count: 2 }] };
		sdk.trigger(`private-orders.${order.id}`, 'OrderShipped', order).catch(() => undefined);
		if (n % 5 === 0) sdk.trigger('news', 'Headline', { text: 'Frete grátis hoje' }).catch(() => undefined);
		if (n % 7 === 0) sdk.trigger('presence-chat.1', 'MessageSent', { zebra: n, body: 'Oi!' }).catch(() => undefined);
	}, 150);
	return () => {
		clearInterval(timer);
		for (const socket of sockets) socket.terminate();
	};
}
