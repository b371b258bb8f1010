// DOM helpers. Data from the network is inserted as text, never as markup.

import { t } from './words.js';

export const id = (name) => document.getElementById(name);

/** Creates an element; `content` is text or other elements. */
export function element(name, properties = {}, ...content) {
	const made = Object.assign(document.createElement(name), properties);
	made.append(...content.map((piece) => piece ?? ''));
	return made;
}

export function button(text, act, className = '') {
	const made = element('button', { type: 'button', className: `quiet ${className}` }, text);
	made.addEventListener('click', act);
	return made;
}

export const link = (text, href) => element('a', { href }, text);

/** Replaces the content of `into` with a table; each cell is text, a number or an element. */
export function table(into, heads, rows, empty) {
	if (!rows.length) return into.replaceChildren(element('p', { className: 'note empty' }, empty));
	const cell = (value) => element('td', { className: typeof value === 'number' ? 'number' : '' },
		value instanceof Node ? value : String(value ?? '–'));
	const body = rows.map((row) => element('tr', {}, ...row.map(cell)));
	const th = (head) => (head.nodeName === 'TH' ? head : element('th', { scope: 'col' }, head));
	const head = element('tr', {}, ...heads.map((one) => (one ? th(one) : element('td'))));
	const made = element('table', {}, element('thead', {}, head), element('tbody', {}, ...body));
	const frame = element('div', { className: 'table' }, made);
	// Makes the table scrollable with the keyboard.
	frame.tabIndex = 0;
	into.replaceChildren(frame);
}

/** The head of a column; `at` makes the address with another order. `orders`: those of a number, in turn. */
export function sortable(text, orders, sort, at) {
	const now = orders.indexOf(sort);
	// One more click than there are orders: the list's own order.
	const to = link(text, at(orders[now + 1]));
	const head = element('th', { scope: 'col' }, to);
	if (now < 0) return head;
	const isDown = sort.startsWith('-');
	head.ariaSort = isDown ? 'descending' : 'ascending';
	to.append(isDown ? ' ▼' : ' ▲');
	return head;
}

/** Shows links to the first and to the next page of a list, whose addresses `at` makes of a cursor. */
export function pages(into, at, after, next) {
	const links = [after && link(t('firstPage'), at()), next && link(t('nextPage'), at(next))];
	into.replaceChildren(...links.filter(Boolean));
}

/** Asks before something that has an effect on clients. */
export function sure(question, effect, action) {
	const dialog = id('sure');
	id('sure-question').textContent = question;
	id('sure-effect').textContent = effect;
	id('sure-yes').textContent = action;
	dialog.showModal();
	return new Promise((resolve) => {
		dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
	});
}

/** JSON of several lines in one, with all its fields, numbers and escapes as they are. */
export const inOneLine = (text) => text.replace(/\n\s*/g, ' ').trim();

/** Formats seconds as a duration. */
export function duration(seconds) {
	if (seconds < 60) return `${seconds} s`;
	if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
	if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`;
	return `${Math.floor(seconds / 86_400)} d ${Math.floor(seconds % 86_400 / 3600)} h`;
}
