import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

const clarim = {
	// Its source, so that nothing has to be built before.
	'@clarim/js/echo': path('../js/src/echo/index.ts'),
	'@clarim/js': path('../js/src/index.ts'),
};

const test = {
	environment: 'happy-dom',
	// The tests ask the server whether it is up, which is on another port than the page of this environment.
	environmentOptions: { happyDOM: { settings: { fetch: { disableSameOriginPolicy: true } } } },
	testTimeout: 20_000,
	hookTimeout: 30_000,
};

export default defineConfig({
	test: {
		// Each file has a server of its own; the machine's cores are few.
		maxWorkers: 1,
		projects: [
			{ resolve: { alias: clarim }, test: { ...test, name: 'react-19', env: { REACT: '19' }, include: ['test/*.test.ts'] } },
			{
				resolve: {
					alias: {
						...clarim,
						'react-dom': path('test/react-18/node_modules/react-dom'),
						react: path('test/react-18/node_modules/react'),
					},
				},
				test: { ...test, name: 'react-18', env: { REACT: '18' }, include: ['test/{behaviour,react,server}.test.ts'] },
			},
		],
	},
});
