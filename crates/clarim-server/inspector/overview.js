// Figures, graphs and the list of nodes.

import { duration, element, id, table } from './dom.js';
import { number, t, time } from './words.js';

/** Points per graph: five minutes. The graph starts with one minute. */
const POINTS = 300;
const SHORTEST = 60;

const GRAPHS = [
	{ title: 'graphConnections', series: ['connections'] },
	{ title: 'graphMessages', series: ['received', 'published', 'sent'] },
	{ title: 'graphLatency', series: ['mean', 'p99'] },
];
const times = [];
const values = { connections: [], received: [], published: [], sent: [], mean: [], p99: [] };
const COLOURS = ['--accent', '--good', '--bad'];

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
	const count = publishes.reduce((sum, n) => sum + n, 0);
	let [seen, at] = [0, 0];
	while (at < publishes.length - 1 && (seen += publishes[at]) < count * 0.99) at += 1;
	const end = now.publishes.ends[Math.min(at, now.publishes.ends.length - 1)];
	return {
		received: (now.received - before.received) / seconds,
		published: (now.publishes.events - before.publishes.events) / seconds,
		sent: (now.frames - before.frames) / seconds,
		mean: count ? (now.publishes.microseconds - before.publishes.microseconds) / count / 1000 : null,
		p99: count ? end / 1000 : null,
	};
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

/** Redraws the graphs after a change of language, theme or width. */
export function draw() {
	plots.forEach((plot) => plot.destroy());
	id('graphs').replaceChildren();
	const line = { stroke: colour('--line') };
	const axis = () => ({ stroke: colour('--muted'), grid: line, ticks: line });
	// Adds all cards before the width of one is measured.
	const cards = GRAPHS.map(({ title }) => element('div', { className: 'card graph' }, element('h2', {}, t(title))));
	id('graphs').append(...cards);
	plots = GRAPHS.map(({ series }, at) => {
		const graph = cards[at];
		const keys = series.length > 1 && element('p', { className: 'note' });
		if (keys) graph.append(keys);
		const lines = series.map((name, n) => {
			if (keys) {
				const key = element('span', {}, `━ ${t(name)}  `);
				key.style.color = colour(COLOURS[n]);
				keys.append(key);
			}
			return { label: name, stroke: colour(COLOURS[n]), width: 2, spanGaps: true };
		});
		const data = [times, ...series.map((name) => values[name])];
		const recent = (_, first, end) => end == null ? [0, SHORTEST] : [Math.min(first, end - SHORTEST), end];
		const range = (_, __, most) => [0, Math.max(1, (most ?? 0) * 1.1)];
		return new window.uPlot({
			width: Math.max(200, graph.clientWidth - 34), height: 180,
			cursor: { show: false }, legend: { show: false },
			scales: { x: { range: recent }, y: { range } },
			axes: [{ ...axis(), space: 70, values: (_, ticks) => ticks.map((at) => time(at * 1000)) }, { ...axis(), size: 64, values: (_, ticks) => ticks.map(number) }],
			series: [{ label: t('time') }, ...lines],
		}, data, graph);
	});
}
