// The list of channels, and one of them: members, position and history.

import { get, part } from './api.js';
import { button, element, id, inOneLine, link, pages, sortable, table } from './dom.js';
import * as events from './events.js';
import { app, attempt, newest } from './lists.js';
import { address, go, place } from './place.js';
import { number, t } from './words.js';

/** What the list was loaded for. */
let listed;

const wanted = (...params) => JSON.stringify([app(), ...params]);

/** Shows the place of this tab. */
export function show({ q = '', sort, after, channel }) {
	id('channel-query').value = q;
	if (listed !== wanted(q, sort, after)) load(q, sort, after);
	showOne(channel);
	id('channels').classList.toggle('has-detail', Boolean(channel));
}

const load = newest((q, sort, after) => {
	listed = wanted(q, sort, after);
	return get(`apps/${part(app())}/channels`, { contains: q, sort: sort?.slice(1), after });
}, showList);

function showList({ channels, count, total, next, is_partial: isPartial }, q, sort, after) {
	const note = isPartial ? ` · ${t('partial')}` : '';
	const text = count === total ? t('countChannels', number(count)) : t('countOf', { n: number(count), total: number(total) });
	id('channel-count').textContent = text + note;
	pages(id('channel-pages'), (cursor) => address('channels', { q, sort, after: cursor }), after, next);
	const rows = channels.map(({ name, subscriptions, users }) => [
		link(name, address('channels', { q, sort, after, channel: name })),
		subscriptions, isPresence(name) ? users : '–',
	]);
	const empty = total ? t('noMatch', { n: number(total) }) : t('noChannels');
	const head = (name) => sortable(t(name), [`-${name}`], sort, (order) => address('channels', { q, sort: order }));
	table(id('channel-list'), [t('channel'), head('subscriptions'), head('users')], rows, empty);
}

/** The open channel. */
let shown;

const pathOf = (name) => `apps/${part(app())}/channels/${part(name)}`;
const isPresence = (name) => name.startsWith('presence-');

/** Opens a channel, or closes the open one. */
const showOne = newest((name) => {
	if (!name) return undefined;
	const members = isPresence(name) ? get(pathOf(name)) : { members: [], count: 0 };
	return Promise.all([members, get(`${pathOf(name)}/history`, { direction: 'backward', limit: 50 })]);
}, (response, name) => {
	const isNew = shown !== name;
	shown = name;
	id('channel').hidden = !name;
	if (!name) return;
	const [members, { history }] = response;
	id('channel-title').textContent = name;
	id('channel-note').textContent = isPresence(name) ? t('membersOf', number(members.count)) : t('noMembers');
	id('members').replaceChildren();
	addMembers(name, members);
	id('channel-connections').href = address('connections', { q: `channel:${name}` });
	id('channel-events').href = address('events', { q: name });
	showHistory(name, history);
	// Made again, as the language may have changed.
	id('channel-log').replaceChildren();
	showTail();
	if (!isNew) return;
	id('publish-note').textContent = '';
	id('channel-title').focus({ preventScroll: true });
	id('channel').scrollIntoView({ block: 'nearest' });
});

function addMembers(name, { members, next }) {
	id('members').append(...members.map((member) => element('li', {}, member)));
	if (!next) return;
	const more = button(t('moreMembers'), () => attempt(async () => {
		const page = await get(pathOf(name), { after: next });
		if (!more.isConnected) return;
		more.parentElement.remove();
		addMembers(name, page);
	}));
	id('members').append(element('li', {}, more));
}

/** Fetches new events while a channel is open. */
export async function poll() {
	if (!place().params.channel) return;
	await events.poll();
	if (shown) showTail();
}

function showTail() {
	const tail = events.ofChannel(app(), shown);
	const log = id('channel-log');
	id('tail-note').hidden = tail.length > 0 || !events.isRecording();
	if (log.childElementCount === tail.length && log.firstChild?.event === tail[0]) return;
	// Entries that are open stay open.
	const entries = new Map([...log.children].map((entry) => [entry.event, entry]));
	log.replaceChildren(...tail.map((event) => entries.get(event) ?? Object.assign(events.entry(event), { event })));
}

function showHistory(name, history) {
	const into = id('channel-history');
	if (!history) {
		id('channel-position').textContent = t('noHistory');
		return into.replaceChildren();
	}
	id('channel-position').textContent = t('position', { offset: history.offset, epoch: history.epoch });
	const add = ({ events, has_more: hasMore, gap }) => {
		if (gap) into.append(element('p', { className: 'warn' }, t('gap', gap)));
		into.append(...events.map((event) => element('details', { className: 'event' },
			element('summary', {}, element('span', { className: 'badge' }, `#${event.offset}`), ' ',
				element('strong', {}, event.event), ' ', element('code', { className: 'preview' }, inOneLine(event.data))),
			element('pre', { tabIndex: 0 }, event.data))));
		if (!hasMore) return;
		const older = button(t('older'), () => attempt(async () => {
			const since = { since: events.at(-1).offset, epoch: history.epoch, direction: 'backward', limit: 50 };
			const answer = await get(`${pathOf(name)}/history`, since);
			// Another channel may be open by now.
			if (!older.isConnected) return;
			older.remove();
			add(answer.history);
		}));
		into.append(older);
	};
	into.replaceChildren();
	add(history);
	if (!history.events.length) into.append(element('p', { className: 'note' }, t('emptyHistory')));
}

export function listen() {
	id('channel-search').addEventListener('submit', (event) => {
		event.preventDefault();
		const q = id('channel-query').value.trim();
		listed = undefined;
		const { sort } = place().params;
		go('channels', { q, sort });
		if (listed === undefined) load(q, sort);
	});
	id('publish-form').addEventListener('submit', (event) => {
		event.preventDefault();
		const [name, data] = [id('publish-name').value, id('publish-data').value];
		events.publish({ channel: shown, name, data }, id('publish-note'));
	});
	id('close-channel').addEventListener('click', () => {
		const { channel, ...list } = place().params;
		go('channels', list);
		id('channel-query').focus();
	});
}

/** Forgets the list, which is of another app or language. */
export const forget = () => { listed = undefined; };
