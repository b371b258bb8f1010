// What the README promises to have.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import * as everything from '../src/index.js';

const read = (name: string): string => readFileSync(`${import.meta.dirname}/../${name}`, 'utf8');
const composables = Object.keys(everything).filter((name) => /^use[A-Z]/.test(name));

test.each(composables)('%s has a section of its own, with an example that uses it', (name) => {
	for (const file of ['README.md', 'README.pt-BR.md']) {
		const section = read(file).split(/^### /m).find((one) => one.startsWith(`${name}\n`));
		const example = /^```vue\n(.*?)^```$/ms.exec(section ?? '')?.[1];
		expect(example, file).toMatch(/^<!-- \w+\.vue -->/);
		expect(example, file).toMatch(new RegExp(`import \\{[^}]*\\b${name}\\b[^}]*\\} from '@clarim/vue'`));
		expect(example, file).toMatch(new RegExp(`\\b${name}[<(]`));
	}
});

test('all of them are looked at', () => {
	expect(composables.length).toBeGreaterThan(10);
});
