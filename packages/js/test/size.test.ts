import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'vite';
import { expect, test } from 'vitest';

/** Bytes of the package in a page, minified and compressed, without pusher-js. */
const LIMIT = 3072;

test(`adds at most ${LIMIT} bytes to a page`, async () => {
	const root = join(import.meta.dirname, '..');
	const built = await build({
		root,
		configFile: false,
		logLevel: 'error',
		build: { write: false, target: 'es2022', rolldownOptions: { input: join(root, 'src/index.ts'), preserveEntrySignatures: 'strict' } },
	});
	const chunks = [built].flat().flatMap((one) => ('output' in one ? one.output : []));
	const code = chunks.map((chunk) => ('code' in chunk ? chunk.code : '')).join('');
	for (const name of ['authorize', 'pageId', 'pagePaths', 'recover']) expect(code).toContain(name);
	expect(gzipSync(code, { level: 9 }).length).toBeLessThanOrEqual(LIMIT);
});
