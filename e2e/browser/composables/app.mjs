// An application with the examples of the package's README and the package as npm packs it.

import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import vue from '@vitejs/plugin-vue';

const run = promisify(execFile);
const here = fileURLToPath(new URL('.', import.meta.url));
const source = fileURLToPath(new URL('../../../packages/vue/', import.meta.url));

const define = {
	__VUE_OPTIONS_API__: 'false',
	__VUE_PROD_DEVTOOLS__: 'false',
	__VUE_PROD_HYDRATION_MISMATCH_DETAILS__: 'false',
};

/** The code blocks of a README, with their language. */
export function blocks(file) {
	const text = readFileSync(join(source, file), 'utf8');
	return [...text.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(([, kind, code]) => ({ kind, code }));
}

/** The named examples: `<!-- News.vue -->`. */
export function examples() {
	return blocks('README.md')
		.map(({ kind, code }) => ({ name: kind === 'vue' && /^<!-- (\w+)\.vue -->/.exec(code)?.[1], code }))
		.filter(({ name }) => name);
}

/** Packs a package into the folder. Returns what npm says of it. */
async function pack(cwd, folder) {
	const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], { cwd });
	// npm prints the output of the scripts before its own.
	const [packed] = Object.values(JSON.parse(stdout.slice(stdout.search(/^[[{]$/m))));
	return packed;
}

/** Creates the application in `folder`, for a server on this port. */
export async function makeApp(folder, variables) {
	// The second is built with the types of the first.
	const plugin = await pack(join(source, '../js'), folder);
	const packed = await pack(source, folder);
	const { devDependencies: versions } = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8'));
	const dependencies = Object.fromEntries(
		['laravel-echo', 'pusher-js', 'tweetnacl', 'vue'].map((name) => [name, versions[name]]),
	);
	dependencies['@clarim/js'] = `file:${plugin.filename}`;
	dependencies['@clarim/vue'] = `file:${packed.filename}`;
	writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, type: 'module', dependencies }));
	await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund'], { cwd: folder });

	for (const file of ['index.html', 'main.js']) cpSync(join(here, file), join(folder, file));
	mkdirSync(join(folder, 'src'));
	for (const { name, code } of examples()) writeFileSync(join(folder, 'src', `${name}.vue`), code);
	const events = blocks('README.md').find(({ code }) => code.startsWith('// src/events.d.ts'));
	writeFileSync(join(folder, 'src/events.d.ts'), events.code);
	const lines = Object.entries(variables).map(([name, value]) => `${name}=${value}\n`);
	writeFileSync(join(folder, '.env'), lines.join(''));
	return { files: packed.files.map(({ path }) => path) };
}

export const viteOptions = (folder) => ({
	root: folder,
	configFile: false,
	logLevel: 'error',
	define,
	plugins: [vue()],
	build: { target: 'esnext', chunkSizeWarningLimit: 2000 },
});

/** TypeScript's errors in the application with one more component. */
export async function typeErrors(folder, component) {
	cpSync(join(here, component), join(folder, 'src', component));
	writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({
		compilerOptions: {
			target: 'es2022', module: 'esnext', moduleResolution: 'bundler', lib: ['es2023', 'dom', 'dom.iterable'],
			strict: true, noEmit: true, skipLibCheck: true, types: [],
		},
		include: ['src'],
	}));
	const check = join(source, 'node_modules/.bin/vue-tsc');
	const { stdout } = await run(check, ['--noEmit', '--pretty', 'false'], { cwd: folder }).catch((error) => error);
	return stdout.split('\n').filter((line) => line.includes('error TS'));
}
