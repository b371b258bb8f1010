// DOM helpers. Data from the network is inserted as text, never as markup.

export const id = (name) => document.getElementById(name);

/** Creates an element; `content` is text or other elements. */
export function element(name, properties = {}, ...content) {
	const made = Object.assign(document.createElement(name), properties);
	made.append(...content.map((piece) => piece ?? ''));
	return made;
}

export function button(text, act, className = '') {
	const made = element('button', { type: 'button', className }, text);
	made.addEventListener('click', act);
	return made;
}

/** Replaces the content of `into` with a table; each cell is text, a number or an element. */
export function table(into, heads, rows, empty) {
	if (!rows.length) return into.replaceChildren(element('p', { className: 'note' }, empty));
	const cell = (value) => element('td', { className: typeof value === 'number' ? 'number' : '' },
		value instanceof Node ? value : String(value ?? '–'));
	const body = rows.map((row) => element('tr', {}, ...row.map(cell)));
	const head = element('tr', {}, ...heads.map((text) => element('th', { scope: 'col' }, text)));
	const made = element('table', {}, element('thead', {}, head), element('tbody', {}, ...body));
	const frame = element('div', { className: 'table' }, made);
	// Makes the table scrollable with the keyboard.
	frame.tabIndex = 0;
	into.replaceChildren(frame);
}

/** Formats seconds as a duration. */
export function duration(seconds) {
	if (seconds < 60) return `${seconds} s`;
	if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
	if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`;
	return `${Math.floor(seconds / 86_400)} d ${Math.floor(seconds % 86_400 / 3600)} h`;
}
