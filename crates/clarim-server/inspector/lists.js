// Channels, connections and webhook deliveries, loaded when their tab is opened.

import { get, part, post } from './api.js';
import { button, duration, element, id, table } from './dom.js';
import { number, t, time } from './words.js';

const app = () => id('app').value;

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

let channels = [];
let nextChannel;

export const loadChannels = (goOn = false) => attempt(async () => {
	const after = goOn ? nextChannel : undefined;
	const found = await get(`apps/${part(app())}/channels`, { prefix: id('prefix').value, after });
	channels = goOn ? [...channels, ...found.channels] : found.channels;
	nextChannel = found.next;
	showChannels(found);
});

function showChannels({ count, is_partial: isPartial }) {
	const note = isPartial ? ` · ${t('partial')}` : '';
	id('channel-count').textContent = t('countChannels', number(count)) + note;
	id('more-channels').hidden = !nextChannel;
	const rows = channels.map(({ name, subscriptions, users }) => [
		name, subscriptions, name.startsWith('presence-') ? users : '–',
		button(t('show'), () => showChannel(name)),
	]);
	table(id('channel-list'), [t('channel'), t('subscriptions'), t('users'), ''], rows, t('noChannels'));
}

const showChannel = (name) => attempt(async () => {
	const isPresence = name.startsWith('presence-');
	const { members, count } = isPresence
		? await get(`apps/${part(app())}/channels/${part(name)}`) : { members: [], count: 0 };
	id('channel').hidden = false;
	id('channel-title').textContent = name;
	id('channel-note').textContent = isPresence ? t('membersOf', number(count)) : t('noMembers');
	id('members').replaceChildren(...members.map((member) => element('li', {}, member)));
	const more = count - members.length;
	if (more > 0) id('members').append(element('li', {}, t('andMore', number(more))));
	id('channel-title').focus();
});

let connections = [];
let nextConnection;

export const loadConnections = (goOn = false) => attempt(async () => {
	const wanted = id('wanted').value.trim();
	let params = { after: goOn ? nextConnection : undefined };
	if (/^\d+\.\d+$/.test(wanted)) params = { id: wanted };
	else if (wanted) params = { app: app(), channel: wanted };
	const found = await get('connections', params);
	connections = goOn ? [...connections, ...found.connections] : found.connections;
	nextConnection = found.next;
	showConnections();
});

function showConnections() {
	id('more-connections').hidden = !nextConnection;
	const rows = connections.map((it) => {
		const more = it.channel_count - it.channels.length;
		const names = [...it.channels, ...(more > 0 ? [t('andMore', number(more))] : [])].join(', ');
		return [
			it.id, it.app, duration(it.age), t('bytes', number(it.outbox)), it.origin, it.user, names || '–',
			button(t('close'), () => close(it.id), 'danger'),
		];
	});
	const heads = ['connection', 'app', 'age', 'outbox', 'origin', 'user', 'subscriptions'].map((name) => t(name));
	table(id('connection-list'), [...heads, ''], rows, t('noConnections'));
}

const close = (socket) => attempt(async () => {
	if (!confirm(t('sureClose', socket))) return;
	await post(`connections/${part(socket)}/close`);
	await loadConnections();
	note(t('closing', socket));
});

const terminate = (user) => attempt(async () => {
	if (!confirm(t('sureTerminate', user))) return;
	await post(`apps/${part(app())}/users/${part(user)}/terminate`);
	await loadConnections();
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
	on('channel-search', 'submit', () => loadChannels());
	on('more-channels', 'click', () => loadChannels(true));
	on('channel-connections', 'click', () => {
		id('wanted').value = id('channel-title').textContent;
		id('tab-connections').click();
		id('tab-connections').focus();
	});
	on('connection-search', 'submit', () => loadConnections());
	on('more-connections', 'click', () => loadConnections(true));
	on('terminate-form', 'submit', () => id('user').value && terminate(id('user').value));
	on('refresh-webhooks', 'click', loadDeliveries);
}
