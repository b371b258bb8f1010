// Alerts: problems of the last minutes.

import { element, id, link } from './dom.js';
import { number, t } from './words.js';

const WINDOW = 5 * 60_000;

/** Counters of the window, oldest first. */
let samples = [];
let shown = '';

/** Counters of problems by alert. `where`: the tab that tells more. */
function countersOf({ problems, webhooks, cluster }) {
	const counters = [
		{ name: 'alertSlow', where: 'connections', count: problems.slow },
		{ name: 'alertLostOnBus', where: 'overview', count: cluster?.lost ?? 0 },
		{ name: 'alertWebhooksFailed', where: 'webhooks', count: webhooks.failed },
		{ name: 'alertWebhooksDropped', where: 'webhooks', count: webhooks.dropped },
	];
	for (const [code, count] of Object.entries(problems.refused)) {
		counters.push({ name: 'alertRefused', detail: code, where: 'connections', count });
	}
	for (const [why, count] of Object.entries(problems.rejected)) {
		counters.push({ name: 'alertRejected', detail: t(`rejected_${why}`), where: 'events', count });
	}
	return counters;
}

/** Adds the server's counters; `now` in milliseconds. */
export function take(facts, now) {
	const { uptime_ms: uptime } = facts;
	// The counters of a restarted server begin at zero.
	if (samples.length && uptime < samples.at(-1).facts.uptime_ms) samples = [];
	samples.push({ at: now, facts });
	while (samples[0].at < now - WINDOW) samples.shift();
	show();
}

export function show() {
	if (!samples.length) return;
	const { facts } = samples.at(-1);
	const earlier = countersOf(samples[0].facts);
	const countBefore = ({ name, detail }) => earlier.find((one) => one.name === name && one.detail === detail)?.count ?? 0;
	const alerts = countersOf(facts)
		.map((one) => ({ ...one, count: one.count - countBefore(one) }))
		.filter(({ count }) => count > 0)
		.map(({ name, detail, where, count }) => ({ text: t(name, { n: number(count), detail }), where }));
	if (facts.cluster && !facts.cluster.is_up) alerts.unshift({ text: t('alertBus'), where: 'overview' });
	// Screen readers announce what changes.
	const now = JSON.stringify(alerts);
	if (now === shown) return;
	shown = now;
	id('alerts').hidden = !alerts.length;
	id('alert-list').replaceChildren(...alerts.map(({ text, where }) => element('li', {}, link(text, `#${where}`))));
}
