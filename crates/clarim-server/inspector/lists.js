// Connections and webhook deliveries.

import { get, part, post } from './api.js';
import { button, duration, element, id, link, pages, sure, table } from './dom.js';
import { address, go, place } from './place.js';
import { number, t, time } from './words.js';

export const app = () => id('app').value;

/** Shows an error or a confirmation. */
export function note(text, isBad = false) {
	id('note').textContent = text;
	id('note').className = isBad ? 'bad' : 'good';
}

/** Runs `act` and shows its error. */
export async function attempt(act) {
	try {
		return await act();
	} catch (error) {
		note(error.message, true);
	}
}

/** Returns a function that loads and then shows, unless it was called again in the meantime. */
export function newest(load, show) {
	let calls = 0;
	return (...args) => attempt(async () => {
		calls += 1;
		const call = calls;
		const response = await load(...args);
		if (call === calls) show(response, ...args);
	});
}

/** Shows the place of the connections. */
export function showConnections({ q = '', after }) {
	id('wanted').value = q;
	loadConnections(after);
}

const wanted = () => id('wanted').value.trim();

const loadConnections = newest((after) => {
	let params = { after };
	if (/^\d+\.\d+$/.test(wanted())) params = { id: wanted() };
	else if (wanted()) params = { app: app(), channel: wanted() };
	return get('connections', params);
}, ({ connections, next }, after) => {
	pages(id('connection-pages'), (cursor) => address('connections', { after: cursor }), after, next);
	listConnections(connections);
});

function listConnections(connections) {
	const rows = connections.map((it) => {
		const more = it.channel_count - it.channels.length;
		const names = element('span');
		for (const name of it.channels) {
			names.append(names.childNodes.length ? ', ' : '', link(name, address('channels', { channel: name })));
		}
		if (more > 0) names.append(', ', t('andMore', number(more)));
		return [
			it.id, it.app, duration(it.age), t('bytes', number(it.outbox)), it.origin, it.user,
			it.channels.length ? names : '–', button(t('close'), () => close(it.id), 'danger'),
		];
	});
	const heads = ['connection', 'app', 'age', 'outbox', 'origin', 'user', 'subscriptions'].map((name) => t(name));
	table(id('connection-list'), [...heads, ''], rows, t(wanted() ? 'noConnectionFound' : 'noConnections'));
}

const close = (socket) => attempt(async () => {
	if (!await sure(t('sureClose', socket), t('closeEffect'), t('close'))) return;
	await post(`connections/${part(socket)}/close`);
	await loadConnections(place().params.after);
	note(t('closing', socket));
});

const terminate = (user) => attempt(async () => {
	if (!await sure(t('sureTerminate', user), t('terminateHint'), t('terminate'))) return;
	await post(`apps/${part(app())}/users/${part(user)}/terminate`);
	await loadConnections(place().params.after);
	note(t('terminated', user));
});

export const loadDeliveries = () => attempt(async () => {
	const { deliveries } = await get('deliveries');
	const states = { sent: 'sentState', failed: 'failed', trying: 'trying' };
	const rows = (deliveries ?? []).map((it) => {
		const problem = it.problem ? `: ${it.problem}` : '';
		const className = it.state === 'sent' ? 'good' : 'bad';
		const events = it.events.map(({ name, channel }) => `${name} ${channel}`).join(', ');
		return [
			time(it.at), it.url, events,
			element('span', { className }, t(states[it.state]) + problem), it.attempts,
			button(t('replay'), () => replay(it.id)),
		];
	});
	const heads = ['time', 'endpoint', 'events', 'state', 'attempts'].map((name) => t(name));
	table(id('deliveries'), [...heads, ''], rows, t('noDeliveries'));
});

const replay = (delivery) => attempt(async () => {
	await post(`deliveries/${delivery}/replay`);
	note(t('replayed'));
	await loadDeliveries();
});

export function listen() {
	const on = (name, event, act) => id(name).addEventListener(event, (it) => { it.preventDefault(); act(); });
	on('connection-search', 'submit', () => {
		go('connections', { q: wanted() });
		loadConnections();
	});
	on('terminate-form', 'submit', () => id('user').value && terminate(id('user').value));
	on('refresh-webhooks', 'click', loadDeliveries);
}
