// The list of channels, and one of them: members, position and history.

import { get, part } from './api.js';
import { button, element, id, inOneLine, link, pages, table } from './dom.js';
import { app, attempt, newest } from './lists.js';
import { address, go, place } from './place.js';
import { number, t } from './words.js';

/** What the list was loaded for. */
let listed;

const wanted = (q, after) => JSON.stringify([app(), q, after]);

/** Shows the place of this tab. */
export function show({ q = '', after, channel }) {
	id('channel-query').value = q;
	if (listed !== wanted(q, after)) load(q, after);
	if (channel) showOne(channel);
	else hide();
	id('channels').classList.toggle('has-detail', Boolean(channel));
}

const load = newest((q, after) => {
	listed = wanted(q, after);
	return get(`apps/${part(app())}/channels`, { contains: q, after });
}, showList);

function showList({ channels, count, total, next, is_partial: isPartial }, q, after) {
	const note = isPartial ? ` · ${t('partial')}` : '';
	const text = count === total ? t('countChannels', number(count)) : t('countOf', { n: number(count), total: number(total) });
	id('channel-count').textContent = text + note;
	pages(id('channel-pages'), (cursor) => address('channels', { q, after: cursor }), after, next);
	const rows = channels.map(({ name, subscriptions, users }) => [
		link(name, address('channels', { q, after, channel: name })),
		subscriptions, name.startsWith('presence-') ? users : '–',
	]);
	const empty = total ? t('noMatch', { n: number(total) }) : t('noChannels');
	table(id('channel-list'), [t('channel'), t('subscriptions'), t('users')], rows, empty);
}

let shown;

function hide() {
	shown = undefined;
	id('channel').hidden = true;
}

const showOne = (name) => attempt(async () => {
	const isNew = shown !== name || id('channel').hidden;
	shown = name;
	const path = `apps/${part(app())}/channels/${part(name)}`;
	const isPresence = name.startsWith('presence-');
	const [{ members, count }, { history }] = await Promise.all([
		isPresence ? get(path) : { members: [], count: 0 },
		get(`${path}/history`, { direction: 'backward', limit: 50 }),
	]);
	if (shown !== name) return;
	id('channel').hidden = false;
	id('channel-title').textContent = name;
	id('channel-note').textContent = isPresence ? t('membersOf', number(count)) : t('noMembers');
	id('members').replaceChildren(...members.map((member) => element('li', {}, member)));
	const more = count - members.length;
	if (more > 0) id('members').append(element('li', {}, t('andMore', number(more))));
	id('channel-connections').href = address('connections', { q: name });
	id('channel-events').href = address('events', { q: name });
	showHistory(name, history);
	if (!isNew) return;
	id('channel-title').focus({ preventScroll: true });
	id('channel').scrollIntoView({ block: 'nearest' });
});

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
			const answer = await get(`apps/${part(app())}/channels/${part(name)}/history`, since);
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
		go('channels', { q });
		if (listed === undefined) load(q);
	});
	id('close-channel').addEventListener('click', () => {
		const { q, after } = place().params;
		go('channels', { q, after });
		id('channel-query').focus();
	});
}

/** Forgets the list, which is of another app or language. */
export const forget = () => { listed = undefined; };
