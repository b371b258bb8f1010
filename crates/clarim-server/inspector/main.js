// Login, tabs and the polling timer.

import { forgetToken, get, hasToken, setToken } from './api.js';
import { element, id } from './dom.js';
import * as events from './events.js';
import * as lists from './lists.js';
import * as overview from './overview.js';
import { apply, speak, t } from './words.js';

const EVERY = 1_000;
const tabs = [...document.querySelectorAll('[role=tab]')];
const chosen = () => tabs.find((tab) => tab.getAttribute('aria-selected') === 'true') ?? tabs[0];
const current = () => chosen().getAttribute('aria-controls');
const LOADS = {
	channels: lists.loadChannels, connections: lists.loadConnections, webhooks: lists.loadDeliveries,
};

let isInside = false;

function choose(tab) {
	for (const one of tabs) {
		const isChosen = one === tab;
		one.setAttribute('aria-selected', String(isChosen));
		one.tabIndex = isChosen ? 0 : -1;
		id(one.getAttribute('aria-controls')).hidden = !isChosen;
	}
	lists.note('');
	if (!isInside) return;
	if (current() === 'overview') overview.draw();
	LOADS[current()]?.();
	if (current() === 'events') tick();
}

function showApps(apps) {
	const before = id('app').value;
	const shown = [...id('app').options].map(({ value }) => value);
	if (shown.join() === apps.map(({ app }) => app).join()) return;
	id('app').replaceChildren(...apps.map(({ app }) => element('option', { value: app }, app)));
	if (before) id('app').value = before;
}

function showState(word, isBad) {
	id('state').textContent = t(word);
	id('state').className = isBad ? 'bad' : 'good';
}

function enter() {
	isInside = true;
	id('entry').hidden = true;
	id('inside').hidden = false;
	choose(chosen());
}

function askForToken(problem) {
	isInside = false;
	id('inside').hidden = true;
	id('entry').hidden = false;
	id('state').textContent = '';
	id('token-problem').textContent = problem;
	id('token').focus();
}

let isPolling = false;

/** Polls the server, one request at a time. Hidden pages don't poll. */
async function tick() {
	if (isPolling || document.hidden || (!isInside && !id('entry').hidden)) return;
	isPolling = true;
	try {
		const facts = await get('overview');
		showApps(facts.apps);
		if (!isInside) enter();
		overview.take(facts, Date.now());
		if (current() === 'events') await events.poll();
		showState('live', false);
	} catch (error) {
		if (error.status === 401) {
			askForToken(hasToken() ? t('wrongToken') : '');
			forgetToken();
		} else if (error.status === 429 && !isInside) {
			askForToken(t('tooMany'));
			forgetToken();
		} else {
			showState('lost', true);
		}
	} finally {
		isPolling = false;
	}
}

function listen() {
	id('token-form').addEventListener('submit', (event) => {
		event.preventDefault();
		setToken(id('token').value);
		id('token').value = '';
		id('entry').hidden = true;
		tick();
	});
	id('language').addEventListener('change', () => {
		speak(id('language').value);
		events.refill();
		choose(chosen());
	});
	id('app').addEventListener('change', () => LOADS[current()]?.());
	for (const tab of tabs) tab.addEventListener('click', () => choose(tab));
	id('tabs').addEventListener('keydown', ({ key }) => {
		const at = tabs.indexOf(chosen());
		const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[key];
		if (to === undefined) return;
		const tab = tabs.at(to % tabs.length);
		tab.focus();
		choose(tab);
	});
	const redraw = () => isInside && current() === 'overview' && overview.draw();
	matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
	addEventListener('resize', redraw);
}

apply();
tabs.forEach((tab, n) => tab.setAttribute('aria-selected', String(n === 0)));
listen();
events.listen();
lists.listen();
tick();
setInterval(tick, EVERY);
