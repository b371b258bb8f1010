// Connections and webhook deliveries.

import { get, part, post } from './api.js';
import { button, duration, element, id, link, pages, sortable, sure, table } from './dom.js';
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
	return async (...args) => {
		calls += 1;
		const call = calls;
		const isNewest = () => call === calls;
		try {
			const response = await load(...args);
			if (isNewest()) show(response, ...args);
		} catch (error) {
			if (isNewest()) note(error.message, true);
		}
	};
}

/** Shows the place of the connections. */
export function showConnections({ q = '', ...list }) {
	id('wanted').value = q;
	loadConnections(q, list);
}

const loadConnections = newest(
	(filter, list) => get('connections', { filter, ...list }),
	({ connections, next }, q, { sort, after }) => {
		pages(id('connection-pages'), (cursor) => address('connections', { q, after: cursor }), after, next);
		listConnections(connections, q, sort);
	},
);

function listConnections(connections, q, sort) {
	const rows = connections.map((it) => {
		const more = it.channel_count - it.channels.length;
		const names = element('span');
		for (const name of it.channels) {
			names.append(names.childNodes.length ? ', ' : '', link(name, address('channels', { channel: name })));
		}
		if (more > 0) names.append(', ', t('andMore', number(more)));
		return [
			it.id, it.app, duration(it.age), t('bytes', number(it.outbox)), it.origin, it.address, it.transport, it.user,
			it.channels.length ? names : '–', button(t('close'), () => close(it.id), 'danger'),
		];
	});
	const sorted = (name) => sortable(t(name), [`-${name}`, name], sort, (order) => address('connections', { q, sort: order }));
	const heads = [
		t('connection'), t('app'), sorted('age'), sorted('outbox'), t('origin'), t('address'), t('transport'), t('user'),
		sorted('subscriptions'),
	];
	table(id('connection-list'), [...heads, ''], rows, t(q ? 'noConnectionFound' : 'noConnections'));
	id('sorted-note').hidden = !sort;
}

/** Loads the list again, after a change. */
function reloadConnections() {
	const { q = '', ...list } = place().params;
	return loadConnections(q, list);
}

const close = (socket) => attempt(async () => {
	if (!await sure(t('sureClose', socket), t('closeEffect'), t('close'))) return;
	await post(`connections/${part(socket)}/close`);
	await reloadConnections();
	note(t('closing', socket));
});

const terminate = (user) => attempt(async () => {
	if (!await sure(t('sureTerminate', user), t('terminateHint'), t('terminate'))) return;
	await post(`apps/${part(app())}/users/${part(user)}/terminate`);
	await reloadConnections();
	note(t('terminated', user));
});

const STATES = { sent: 'sentState', failed: 'failed', trying: 'trying' };

/** What needs attention first: failed requests, then those with a failed attempt. */
const urgency = ({ state, problem }) => (state === 'failed' ? 0 : state === 'trying' && problem ? 1 : 2);

export const loadDeliveries = newest(() => get('deliveries'), ({ deliveries }) => {
	// Sorting keeps the newest first among equals.
	const rows = deliveries.toSorted((a, b) => urgency(a) - urgency(b)).map((it) => {
		const problem = it.problem ? `: ${it.problem}` : '';
		const className = it.state === 'sent' ? 'good' : 'bad';
		const events = it.events.map(({ name, channel }) => `${name} ${channel}`).join(', ');
		return [
			time(it.at), it.url, events,
			element('span', { className }, t(STATES[it.state]) + problem), it.attempts,
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
		const before = location.hash;
		const { sort } = place().params;
		go('connections', { q: id('wanted').value.trim(), sort });
		// The same search again reads the list again.
		if (location.hash === before) reloadConnections();
	});
	on('terminate-form', 'submit', () => id('user').value && terminate(id('user').value));
	on('refresh-webhooks', 'click', loadDeliveries);
}
