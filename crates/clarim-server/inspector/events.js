// The live log of events, and the form that publishes one.

import { get, part, post } from './api.js';
import { element, id } from './dom.js';
import { number, t, time } from './words.js';

/** Maximum number of events that the page keeps. */
const KEPT = 500;

let events = [];
let next;
let missed = 0;
let droppedBefore;
let dropped = 0;
let isPaused = false;

/** Fetches new events. */
export async function poll() {
	if (isPaused) return;
	const news = await get('stream', { after: next });
	next = news.next;
	droppedBefore ??= news.dropped;
	dropped = news.dropped - droppedBefore;
	missed += news.missed;
	if (!news.events.length) return showNote();
	events = [...events, ...news.events].slice(-KEPT);
	show(news.events);
}

function isWanted(event) {
	const kind = id('kind').value;
	const filter = id('filter').value.toLowerCase();
	const text = [event.channel, event.event, event.data, event.socket].join(' ').toLowerCase();
	return (!kind || event.kind === kind) && text.includes(filter);
}

function entry(event) {
	const head = [
		element('time', {}, time(event.at)),
		element('span', { className: 'kind' }, t(event.kind)),
		element('span', { className: 'channel' }, event.channel ?? event.socket ?? ''),
		element('strong', {}, event.event ?? ''),
	];
	const data = event.data ? [element('pre', {}, event.data)] : [];
	return element('div', { className: 'event' }, ...head, ...data);
}

/** Adds events to the log. */
function show(more) {
	const log = id('log');
	log.prepend(...more.filter(isWanted).reverse().map(entry));
	while (log.childElementCount > KEPT) log.lastChild.remove();
	showNote();
}

function showNote() {
	const values = { shown: number(id('log').childElementCount), dropped: number(dropped + missed) };
	id('stream-note').textContent = t('streamNote', values);
}

export function refill() {
	id('log').replaceChildren();
	id('pause').textContent = t(isPaused ? 'resume' : 'pause');
	show(events);
}

async function publish() {
	const say = (text, isBad = true) => {
		id('event-note').textContent = text;
		id('event-note').className = isBad ? 'problem' : 'good';
	};
	const data = id('event-data').value;
	try {
		JSON.parse(data);
	} catch (error) {
		return say(t('badJson', error.message));
	}
	try {
		const body = { name: id('event-name').value, channel: id('event-channel').value, data };
		await post(`apps/${part(id('app').value)}/events`, body);
		say(t('wasPublished'), false);
	} catch (error) {
		say(error.message);
	}
}

export function listen() {
	id('event-form').addEventListener('submit', (event) => { event.preventDefault(); publish(); });
	for (const name of ['kind', 'filter']) id(name).addEventListener('input', refill);
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
