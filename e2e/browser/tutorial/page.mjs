// docs/tutorial.md as a program: its files, and its commands.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const docs = fileURLToPath(new URL('../../../docs/', import.meta.url));

/**
 * What stands in ``` on the page: its section ("3.2"), its language, and the name of the file that it is, which stands
 * in bold letters above it.
 */
export function blocks(file) {
	const found = [];
	let section = '';
	const pattern = /^#{2,3} (\d+(?:\.\d+)?)\.? |^(?:\*\*`([^`]+)`\*\*\n\n)?```(\w+)\n(.*?)^```$/gms;
	for (const [, heading, name, language, code] of readFileSync(docs + file, 'utf8').matchAll(pattern)) {
		if (heading) section = heading;
		else found.push({ section, language, name, code });
	}
	return found;
}

/** The numbers of its headings. */
export const numbers = (file) => [...readFileSync(docs + file, 'utf8').matchAll(/^#{2,3} (\d+(?:\.\d+)?)/gm)].map(([, n]) => n);
