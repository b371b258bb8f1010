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
		lib: { entry: 'src/index.ts', formats: ['es'], fileName: 'index' },
		rolldownOptions: { external: ['@clarim/js', 'vue', 'laravel-echo', 'pusher-js'] },
	},
});
