import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
	// Its source, so that nothing has to be built before.
	resolve: {
		alias: {
			'@clarim/js/echo': fileURLToPath(new URL('../js/src/echo/index.ts', import.meta.url)),
			'@clarim/js': fileURLToPath(new URL('../js/src/index.ts', import.meta.url)),
		},
	},
	test: {
		include: ['test/**/*.test.ts'],
		environment: 'happy-dom',
		// The tests ask the server whether it is up, which is on another port than the page of this environment.
		environmentOptions: { happyDOM: { settings: { fetch: { disableSameOriginPolicy: true } } } },
		// Each file has a server of its own; the machine's cores are few.
		maxWorkers: 1,
		testTimeout: 20_000,
		hookTimeout: 30_000,
	},
});
