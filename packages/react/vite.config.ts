import { defineConfig } from 'vite';

export default defineConfig({
	build: {
		target: 'es2022',
		minify: false,
		lib: { entry: 'src/index.ts', formats: ['es'], fileName: 'index' },
		rolldownOptions: {
			external: ['@clarim/js', '@clarim/js/echo', 'react', 'laravel-echo', 'pusher-js'],
			// The hooks run in client components.
			output: { banner: "'use client';" },
		},
	},
});
