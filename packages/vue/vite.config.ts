import { defineConfig, type Plugin } from 'vite';

/**
 * Vite would put the variables of this build into the package. They have to be those of the application's build, so
 * what stands for them is hidden meanwhile.
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
		rolldownOptions: { external: ['vue', 'laravel-echo', 'pusher-js'] },
	},
});
