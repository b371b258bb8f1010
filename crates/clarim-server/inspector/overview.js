// Figures, graphs and the list of nodes.

import { duration, element, id, table } from './dom.js';
import { number, t, time } from './words.js';

/** Points per graph: five minutes. The graph starts with one minute. */
const POINTS = 300;
const SHORTEST = 60;

/** Deliveries have a graph of their own: there are hundreds of them for one event. */
const GRAPHS = [
	{ title: 'connections', series: ['connections'] },
	{ title: 'graphMessages', series: ['published', 'received'] },
	{ title: 'graphDeliveries', series: ['sent'] },
	{ title: 'graphLatency', series: ['p50', 'p99'] },
];
const times = [];
const values = { connections: [], received: [], published: [], sent: [], p50: [], p99: [] };
const COLOURS = ['--series-1', '--series-2'];

let last;
let plots = [];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Adds the server's counters to figures and graphs; `now` in milliseconds. */
export function take(facts, now) {
	// The counters of a restarted server begin at zero.
	if (last && facts.uptime_ms < last.facts.uptime_ms) last = undefined;
	if (last && facts.uptime_ms === last.facts.uptime_ms) return;
	const rates = last && ratesOf(last.facts, facts, (facts.uptime_ms - last.facts.uptime_ms) / 1000);
	last = { facts };
	const connections = facts.apps.reduce((sum, app) => sum + app.connections, 0);
	times.push(now / 1000);
	for (const [name, list] of Object.entries(values)) {
		list.push(name === 'connections' ? connections : rates?.[name] ?? null);
		if (list.length > POINTS) list.shift();
	}
	if (times.length > POINTS) times.shift();
	showFigures(facts, connections, rates);
	showNodes(facts.cluster);
	GRAPHS.forEach(({ series }, n) => plots[n]?.setData([times, ...series.map((name) => values[name])]));
}

function ratesOf(before, now, seconds) {
	const publishes = now.publishes.buckets.map((count, n) => count - before.publishes.buckets[n]);
	return {
		received: (now.received - before.received) / seconds,
		published: (now.publishes.events - before.publishes.events) / seconds,
		sent: (now.frames - before.frames) / seconds,
		p50: percentile(publishes, now.publishes.ends, 0.5),
		p99: percentile(publishes, now.publishes.ends, 0.99),
	};
}

/** Returns the end of the bucket that this part of the requests does not exceed, in ms. */
function percentile(buckets, ends, part) {
	const count = buckets.reduce((sum, n) => sum + n, 0);
	if (!count) return null;
	let [seen, at] = [0, 0];
	while (at < buckets.length - 1 && (seen += buckets[at]) < count * part) at += 1;
	return ends[Math.min(at, ends.length - 1)] / 1000;
}

function showFigures(facts, connections, rates) {
	const rate = (value) => t('perSecond', number(Math.round(value ?? 0)));
	const channels = Object.values(facts.channels).reduce((sum, count) => sum + count, 0);
	const figures = [
		['connections', number(connections)], ['channels', number(channels)],
		['subscriptions', number(facts.subscriptions)], ['members', number(facts.members)],
		['published', rate(rates?.published)], ['received', rate(rates?.received)],
		['deliveries', rate(rates?.sent)],
		['outboxes', t('bytes', number(facts.outbox_bytes + facts.inbox_bytes))],
		['uptime', duration(Math.floor(facts.uptime_ms / 1000))], ['version', facts.version],
	];
	id('figures').replaceChildren(...figures.map(([name, value]) => {
		const figure = element('div', {}, element('dt', {}, t(name)), element('dd', {}, value));
		figure.dataset.figure = name;
		return figure;
	}));
}

function showNodes(cluster) {
	id('alone').hidden = Boolean(cluster);
	id('nodes').hidden = !cluster;
	if (!cluster) return;
	const bus = cluster.is_up ? t('busUp', number(cluster.lag_us / 1000)) : t('busDown');
	const rows = [[cluster.me, t('thisOne'), bus], ...cluster.nodes.map((node) => [node, t('other'), '–'])];
	table(id('nodes'), [t('node'), t('role'), t('bus')], rows, '');
}

/** Shows the values of a graph at one of its times, or now. */
function showKeys(graph, series, at) {
	const shown = (name) => {
		const value = at == null ? values[name].at(-1) : values[name][at];
		return value == null ? '–' : number(value);
	};
	const keys = series.map((name, n) => {
		const key = element('span', { className: 'key' }, `━ ${t(name)} `, element('b', {}, shown(name)));
		key.style.color = colour(COLOURS[n]);
		return key;
	});
	const when = element('time', {}, at == null ? '' : time(times[at] * 1000));
	graph.querySelector('.keys').replaceChildren(...keys, when);
}

/** Redraws the graphs after a change of language, theme or width. */
export function draw() {
	plots.forEach((plot) => plot.destroy());
	id('graphs').replaceChildren();
	const line = { stroke: colour('--line') };
	const axis = () => ({ stroke: colour('--soft'), grid: line, ticks: line });
	// Adds all cards before the width of one is measured.
	const cards = GRAPHS.map(({ title }) => element('div', { className: 'card graph' },
		element('h2', {}, t(title)), element('p', { className: 'keys note' })));
	id('graphs').append(...cards);
	plots = GRAPHS.map(({ series }, at) => {
		const graph = cards[at];
		const lines = series.map((name, n) => (
			{ label: name, stroke: colour(COLOURS[n]), width: 2, spanGaps: true, points: { show: times.length < 3 } }
		));
		const data = [times, ...series.map((name) => values[name])];
		const recent = (_, first, end) => end == null ? [0, SHORTEST] : [Math.min(first, end - SHORTEST), end];
		const range = (_, __, most) => [0, Math.max(1, (most ?? 0) * 1.1)];
		const keys = (plot) => showKeys(graph, series, plot.cursor.left >= 0 ? plot.cursor.idx : null);
		return new window.uPlot({
			width: Math.max(200, graph.clientWidth - 42), height: 180,
			cursor: { drag: { x: false, y: false }, y: false }, legend: { show: false },
			hooks: { setCursor: [keys], setData: [keys], ready: [keys] },
			scales: { x: { range: recent }, y: { range } },
			axes: [
				{ ...axis(), space: 90, values: (_, ticks) => ticks.map((at) => time(at * 1000)) },
				{ ...axis(), size: 56, values: (_, ticks) => ticks.map(number) },
			],
			series: [{ label: t('time') }, ...lines],
		}, data, graph);
	});
}
