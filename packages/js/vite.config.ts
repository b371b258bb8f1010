import { defineConfig, type Plugin } from 'vite';

/**
 * Keeps Vite from inlining this build's variables into the package. The application's build must inline its own, so
 * `import.meta.env` is hidden during this build.
 */
const environmentOfTheApplication: Plugin = {
	name: 'environment-of-the-application',
	enforce: 'pre',
	transform: (code) => code.replaceAll('import.meta.env', '__ENVIRONMENT__'),
	renderChunk: (code) => code.replaceAll('__ENVIRONMENT__', 'import.meta.env'),
};

export default defineConfig({
	plugins: [environmentOfTheApplication],
	build: {
		target: 'es2022',
		minify: false,
		// Both entries share the state of a client, so what both need is in a file of its own.
		lib: { entry: { index: 'src/index.ts', echo: 'src/echo/index.ts' }, formats: ['es'] },
		rolldownOptions: { external: ['laravel-echo', 'pusher-js'] },
	},
});
