// Login, tabs and the polling timer.

import * as alerts from './alerts.js';
import { forgetToken, get, hasToken, setToken } from './api.js';
import * as channels from './channels.js';
import { element, id } from './dom.js';
import * as events from './events.js';
import * as lists from './lists.js';
import * as overview from './overview.js';
import { address, go, place } from './place.js';
import { apply, speak, t } from './words.js';

const EVERY = 1_000;
const tabs = [...document.querySelectorAll('[role=tab]')];
const nameOf = (tab) => tab.getAttribute('aria-controls');
const chosen = () => tabs.find((tab) => nameOf(tab) === place().tab) ?? tabs[0];
const current = () => nameOf(chosen());
/** How each tab shows its place. */
const SHOW = {
	overview: () => overview.draw(),
	channels(params) {
		channels.show(params);
		tick();
	},
	connections: lists.showConnections,
	events(params) {
		events.showPlace(params);
		tick();
	},
	webhooks: lists.loadDeliveries,
};

/** What a tab fetches while it is shown. */
const POLL = { channels: channels.poll, events: events.poll };

let isInside = false;
/** The last place in each tab, to which its button goes back. */
const lastPlaces = {};

/** Shows what the address says. */
function show() {
	const tab = chosen();
	for (const one of tabs) {
		const isChosen = one === tab;
		one.setAttribute('aria-selected', String(isChosen));
		one.tabIndex = isChosen ? 0 : -1;
		id(nameOf(one)).hidden = !isChosen;
	}
	lists.note('');
	const { params } = place();
	lastPlaces[nameOf(tab)] = params;
	if (isInside) SHOW[nameOf(tab)](params);
}

const choose = (tab) => go(nameOf(tab), lastPlaces[nameOf(tab)]);

function showApps(apps) {
	const before = id('app').value;
	const shown = [...id('app').options].map(({ value }) => value);
	if (shown.join() === apps.map(({ app }) => app).join()) return;
	id('app').replaceChildren(...apps.map(({ app }) => element('option', { value: app }, app)));
	const wanted = before || sessionStorage.getItem('clarim-inspector-app');
	if (apps.some(({ app }) => app === wanted)) id('app').value = wanted;
}

function showState(word, isBad) {
	id('state').textContent = t(word);
	id('state').className = `badge ${isBad ? 'bad' : 'good'}`;
}

function enter() {
	isInside = true;
	id('entry').hidden = true;
	id('inside').hidden = false;
	show();
}

function askForToken(problem) {
	isInside = false;
	id('inside').hidden = true;
	id('entry').hidden = false;
	id('state').textContent = '';
	id('state').className = '';
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
		alerts.take(facts, Date.now());
		await POLL[current()]?.();
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
		alerts.show();
		events.refill();
		channels.forget();
		show();
	});
	id('app').addEventListener('change', () => {
		sessionStorage.setItem('clarim-inspector-app', id('app').value);
		// The page of a list and the open channel are those of the former app.
		const { after, channel, ...rest } = place().params;
		history.replaceState(null, '', address(current(), rest));
		show();
	});
	for (const name of ['place', 'popstate', 'hashchange']) addEventListener(name, show);
	for (const tab of tabs) tab.addEventListener('click', () => choose(tab));
	id('tabs').addEventListener('keydown', ({ key }) => {
		const at = tabs.indexOf(chosen());
		const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[key];
		if (to === undefined) return;
		const tab = tabs.at(to % tabs.length);
		tab.focus();
		choose(tab);
	});
	for (const answer of ['yes', 'no']) id(`sure-${answer}`).addEventListener('click', () => id('sure').close(answer));
	const redraw = () => isInside && current() === 'overview' && overview.draw();
	matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
	addEventListener('resize', redraw);
}

apply();
if (!place().tab) history.replaceState(null, '', address(nameOf(tabs[0])));
listen();
events.listen();
channels.listen();
lists.listen();
show();
tick();
setInterval(tick, EVERY);
