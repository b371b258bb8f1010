// The files and commands of docs/tutorial.md.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const docs = fileURLToPath(new URL('../../docs/', import.meta.url));

const PATTERN = /^#{2,3} (\d+(?:\.\d+)?)\.? |^(?:\*\*`([^`]+)`\*\*\n\n)?```(\w+)\n(.*?)^```$/gms;

const read = (file) => readFileSync(docs + file, 'utf8');

/**
 * The code blocks of the page, with section ("3.2"), language and file name. The file name is in bold above
 * the block.
 */
export function blocks(file) {
	const found = [];
	let section = '';
	for (const [, heading, name, language, code] of read(file).matchAll(PATTERN)) {
		if (heading) section = heading;
		else found.push({ section, language, name, code });
	}
	return found;
}

/** Lines outside of the blocks that are code too: another kind of fence, or an indented line. */
export const strays = (file) => read(file).replaceAll(PATTERN, '').match(/^(?: *(?:`{3}|~{3})| {4}|\t).*$/gm) ?? [];

/** The numbers of its headings. */
export const numbers = (file) => [...read(file).matchAll(/^#{2,3} (\d+(?:\.\d+)?)/gm)].map(([, n]) => n);
