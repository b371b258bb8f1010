// @vitest-environment node
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bundled, compressed } from '../../js/test/size.js';

const root = join(import.meta.dirname, '..');

/** Bytes of the package in a page, minified and compressed, without its dependencies. */
const LIMIT = 3072;

test(`adds at most ${LIMIT} bytes to a page`, async () => {
	const code = await bundled(root, join(root, 'src/index.ts'), [/^@clarim\/js/, 'react', 'laravel-echo', 'pusher-js']);
	for (const name of ['useChannel', 'useNotifications', 'useUser']) expect(code).toContain(name);
	expect(compressed(code)).toBeLessThanOrEqual(LIMIT);
});
