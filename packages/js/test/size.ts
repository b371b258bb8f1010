import { gzipSync } from 'node:zlib';
import { build } from 'vite';

/** Returns the code that an entry adds to a page, minified, without these dependencies. */
export async function bundled(root: string, entry: string, external: (string | RegExp)[] = []): Promise<string> {
	const built = await build({
		root,
		configFile: false,
		logLevel: 'error',
		build: {
			write: false, target: 'es2022', rolldownOptions: { external, input: entry, preserveEntrySignatures: 'strict' },
		},
	});
	const chunks = [built].flat().flatMap((one) => ('output' in one ? one.output : []));
	return chunks.map((chunk) => ('code' in chunk ? chunk.code : '')).join('');
}

/** Returns the size of code as a server sends it. */
export const compressed = (code: string): number => gzipSync(code, { level: 9 }).length;
