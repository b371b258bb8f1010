// Code blocks of a page of the documentation.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const PATTERN = /^## ([^\n]*)$|^(?:\*\*`([^`]+)`\*\*\n\n)?```(\w*)\n(.*?)^```$/gms;

export const text = (page) => readFileSync(fileURLToPath(new URL(`../../docs/${page}`, import.meta.url)), 'utf8');

/** The blocks in order, with section, language and file name. The file name is in bold above the block. */
export function codeBlocks(page) {
  const found = [];
  let section = '';
  for (const [, heading, name, language, code] of text(page).matchAll(PATTERN)) {
    if (heading) section = heading;
    else found.push({ section, name, language, code });
  }
  return found;
}
