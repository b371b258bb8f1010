// The live log of events, and the form that publishes one.

import { get, part, post } from './api.js';
import { element, id, inOneLine, link } from './dom.js';
import { address, go } from './place.js';
import { exactTime, number, t } from './words.js';

/** Maximum number of events that the page keeps. */
const KEPT = 1_000;
/** Maximum number of events that a channel shows. */
const TAIL = 50;

const COLOURS = { published: 'info', received: 'warn', connected: 'good', closed: 'bad' };

let events = [];
let next;
let missed = 0;
let droppedBefore;
let dropped = 0;
let isPaused = false;

/** Shows the place of this tab. */
export function showPlace({ kind = '', q = '' }) {
	id('kind').value = kind;
	id('filter').value = q;
	if (q && !id('event-channel').value) id('event-channel').value = q;
	refill();
}

/** Whether the server has been asked to record events. */
export const isRecording = () => next !== undefined;

/** Fetches new events. */
export async function poll() {
	const news = await get('stream', { after: next });
	next = news.next;
	droppedBefore ??= news.dropped;
	dropped = news.dropped - droppedBefore;
	missed += news.missed;
	if (!news.events.length) return showNote();
	events = [...events, ...news.events].slice(-KEPT);
	if (isPaused) showNote();
	else show(news.events);
}

function isWanted(event) {
	const kind = id('kind').value;
	const filter = id('filter').value.toLowerCase();
	const text = [event.channel, event.event, event.data, event.socket].join(' ').toLowerCase();
	return (!kind || event.kind === kind) && text.includes(filter);
}

/** Returns the last events of a channel, the newest first. */
export const ofChannel = (app, channel) =>
	events.filter((event) => event.app === app && event.channel === channel).slice(-TAIL).reverse();

export function entry(event) {
	const { kind, channel, socket, data } = event;
	const head = element('p', { className: 'head' },
		element('time', {}, exactTime(event.at)),
		element('span', { className: `kind badge ${COLOURS[kind] ?? ''}` }, t(kind)),
		element('strong', {}, event.event ?? ''),
		channel ? link(channel, address('channels', { channel })) : '',
		socket ? link(socket, address('connections', { q: socket })) : '');
	const made = element('div', { className: 'event' }, head);
	// Made when it is opened, because most are not.
	if (data) {
		const details = element('details', {}, element('summary', {}, element('code', { className: 'preview' }, inOneLine(data).slice(0, 300))));
		details.addEventListener('toggle', () => details.append(element('pre', { tabIndex: 0 }, data)), { once: true });
		made.append(details);
	}
	return made;
}

/** Adds events to the log. */
function show(more) {
	const log = id('log');
	log.prepend(...more.filter(isWanted).reverse().map(entry));
	while (log.childElementCount > KEPT) log.lastChild.remove();
	showNote();
}

function showNote() {
	// Events are recorded from the first request on.
	if (!isRecording()) return;
	const values = { shown: number(id('log').childElementCount), dropped: number(dropped + missed) };
	id('stream-note').textContent = t('streamNote', values);
}

export function refill() {
	id('log').replaceChildren();
	id('pause').textContent = t(isPaused ? 'resume' : 'pause');
	show(events);
}

/** Publishes `event` and shows the outcome in `note`. */
export async function publish(event, note) {
	const say = (text, isBad = true) => {
		note.textContent = text;
		note.className = isBad ? 'problem' : 'good';
	};
	try {
		JSON.parse(event.data);
	} catch (error) {
		return say(t('badJson', error.message));
	}
	try {
		await post(`apps/${part(id('app').value)}/events`, event);
		say(t('wasPublished'), false);
	} catch (error) {
		say(error.message);
	}
}

export function listen() {
	id('event-form').addEventListener('submit', (event) => {
		event.preventDefault();
		const [channel, name, data] = ['event-channel', 'event-name', 'event-data'].map((field) => id(field).value);
		publish({ channel, name, data }, id('event-note'));
	});
	for (const name of ['kind', 'filter']) {
		id(name).addEventListener('input', () => go('events', { kind: id('kind').value, q: id('filter').value }, true));
	}
	id('clear').addEventListener('click', () => {
		[events, missed] = [[], 0];
		refill();
	});
	id('pause').addEventListener('click', () => {
		isPaused = !isPaused;
		id('pause').setAttribute('aria-pressed', String(isPaused));
		refill();
	});
}
