// The contrast of the design tokens, by WCAG 2.2.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

const css = readFileSync(new URL('../../crates/clarim-server/design/tokens.css', import.meta.url), 'utf8');

/** The colours of one theme. */
function colours(selector) {
	const begin = css.indexOf(`${selector} {`);
	const block = css.slice(begin, css.indexOf('}', begin));
	return Object.fromEntries([...block.matchAll(/--([\w-]+): (#[0-9a-f]+);/g)].map(([, name, value]) => [name, value]));
}

function luminance(colour) {
	const full = colour.length === 4 ? colour.replaceAll(/[0-9a-f]/g, '$&$&') : colour;
	const [red, green, blue] = [1, 3, 5].map((at) => Number.parseInt(full.slice(at, at + 2), 16) / 255)
		.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
	return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one, other) {
	const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
	return (light + 0.05) / (dark + 0.05);
}

/** Text on its backgrounds, 4.5:1. */
const TEXT = {
	'ink': ['canvas', 'surface', 'sunken', 'accent-soft'],
	'soft': ['canvas', 'surface', 'sunken'],
	'accent': ['canvas', 'surface', 'accent-soft'],
	'on-fill': ['fill', 'fill-strong'],
	'danger': ['canvas', 'surface', 'danger-soft'],
	'warn': ['canvas', 'surface', 'warn-soft'],
	'ok': ['canvas', 'surface', 'ok-soft'],
	'series-1': ['surface'],
	'series-2': ['surface'],
	'series-3': ['surface'],
};
/** Borders of controls, 3:1. */
const BORDERS = { edge: ['surface', 'canvas'] };

for (const [name, selector] of [['light', ':root'], ['dark', ':root[data-theme="dark"]']]) {
	test(`${name}: text and controls have enough contrast`, () => {
		const theme = colours(selector);
		const low = [...Object.entries(TEXT).map((entry) => [...entry, 4.5]), ...Object.entries(BORDERS).map((entry) => [...entry, 3])]
			.flatMap(([front, backs, least]) => backs.map((back) => ({ front, back, least, is: contrast(theme[front], theme[back]) })))
			.filter(({ is, least }) => !(is >= least));
		assert.deepEqual(low, []);
	});
}
