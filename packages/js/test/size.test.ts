import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bundled, compressed } from './size.js';

const root = join(import.meta.dirname, '..');

/** Bytes of the package in a page, minified and compressed, without pusher-js. */
const LIMIT = 3072;
/** The same with the parts that @clarim/vue and @clarim/react need. */
const ECHO_LIMIT = 7168;

test(`adds at most ${LIMIT} bytes to a page`, async () => {
	const code = await bundled(root, join(root, 'src/index.ts'));
	for (const name of ['authorize', 'pageId', 'pagePaths', 'recover']) expect(code).toContain(name);
	expect(compressed(code)).toBeLessThanOrEqual(LIMIT);
});

test(`adds at most ${ECHO_LIMIT} bytes with the parts of the packages for frameworks`, async () => {
	const code = await bundled(root, join(root, 'src/echo/index.ts'), ['laravel-echo', 'pusher-js']);
	for (const name of ['createEcho', 'holdStore', 'UserSession']) expect(code).toContain(name);
	expect(compressed(code)).toBeLessThanOrEqual(ECHO_LIMIT);
});
