import tailwindcss from '@tailwindcss/vite';
import vue from '@vitejs/plugin-vue';
import { defineConfig } from 'vite';

// The application, when the pages are served by `npm run dev`.
const backend = { target: 'http://127.0.0.1:8000', changeOrigin: false };

const design = '../../../crates/clarim-server/design';

export default defineConfig({
	plugins: [vue(), tailwindcss()],
	// The mark and the theme script, which the server's own pages use too.
	publicDir: design,
	define: {
		__VUE_OPTIONS_API__: 'false',
		__VUE_PROD_DEVTOOLS__: 'false',
		__VUE_PROD_HYDRATION_MISMATCH_DETAILS__: 'false',
		__VUE_I18N_FULL_INSTALL__: 'true',
		__VUE_I18N_LEGACY_API__: 'false',
		__INTLIFY_DROP_MESSAGE_COMPILER__: 'false',
		__INTLIFY_PROD_DEVTOOLS__: 'false',
	},
	build: {
		target: 'es2023',
		// The Content-Security-Policy has no place for data: in scripts and fonts.
		assetsInlineLimit: 0,
	},
	server: {
		fs: { allow: ['.', design] },
		proxy: {
			'/api': backend, '/broadcasting': backend, '/app': { ...backend, ws: true },
		},
	},
});
