// The READMEs cover all composables, and their setup compiles.

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import * as everything from '../src/index.js';

const packageFolder = join(import.meta.dirname, '..');
const read = (name: string): string => readFileSync(join(packageFolder, name), 'utf8');
const READMES = ['README.md', 'README.pt-BR.md'];
const composables = Object.keys(everything).filter((name) => /^use[A-Z]/.test(name));

test.each(composables)('%s has a section of its own, with an example that uses it', (name) => {
	for (const file of READMES) {
		const section = read(file).split(/^### /m).find((one) => one.startsWith(`${name}\n`));
		const example = /^```vue\n(.*?)^```$/ms.exec(section ?? '')?.[1];
		expect(example, file).toMatch(/^<!-- \w+\.vue -->/);
		expect(example, file).toMatch(new RegExp(`import \\{[^}]*\\b${name}\\b[^}]*\\} from '@clarim/vue'`));
		expect(example, file).toMatch(new RegExp(`\\b${name}[<(]`));
	}
});

test('finds all composables', () => {
	expect(composables.length).toBeGreaterThan(10);
});

/** The code blocks in these languages. */
const blocks = (file: string, ...languages: string[]): string[] =>
	[...read(file).matchAll(/^```(\w+)\n(.*?)^```$/gms)]
		.filter(([, language]) => languages.includes(language!)).map(([, , code]) => code!);

/** Inline code that is a statement. */
const statements = (file: string): string[] =>
	[...read(file).replaceAll(/^```.*?^```$/gms, '').matchAll(/`((?:import|app\.use|interface) ?[^`]+)`/g)].map(([, code]) => code!);

/** Imports for the snippets that are shown without them. */
const PRELUDE = `
import Echo from 'laravel-echo';
import { createApp } from 'vue';
import { ClarimVue } from '@clarim/vue';
import App from './App.vue';

const app = createApp(App);
`;

/** Inertia's part in the setup, with the types of its version 3. */
const INERTIA = `
declare module '@inertiajs/vue3' {
	import type { App } from 'vue';

	interface Config { method: string; url: string; headers?: Record<string, unknown>; signal?: AbortSignal }
	export const http: { onRequest: (handler: (config: Config) => Config | Promise<Config>) => () => void };
	export function createInertiaApp(options: { withApp?: (app: App) => void }): Promise<void>;
}
`;

/** The setup code of a README as files of an application: name → content. */
function application(file: string): Record<string, string> {
	const files: Record<string, string> = { 'App.vue': '<template><p /></template>\n' };
	const short: string[] = [];
	for (const code of blocks(file, 'ts')) {
		const name = /^\/\/ src\/(\S+)\n/.exec(code)?.[1];
		// As .ts, because skipLibCheck disables checks in .d.ts files.
		if (name) files[name.replace('.d.ts', '.ts')] = code;
		else if (code.startsWith('import ')) files[`whole${Object.keys(files).length}.ts`] = code;
		else short.push(code);
	}
	const within = statements(file);
	const is = (start: string) => (code: string): boolean => code.startsWith(start);
	// One file each, because they are alternatives.
	for (const [i, code] of [...short, ...within.filter(is('app.use'))].entries()) {
		files[`short${i}.ts`] = [PRELUDE, ...within.filter(is('import')), code].join('\n');
	}
	files['inertia.d.ts'] = INERTIA;
	files['generated.ts'] = `
import { useChannel } from '@clarim/vue';

interface GeneratedEvents { InvoicePaid: { invoice: number } }
declare module '@clarim/vue' {
	${within.filter(is('interface')).join('\n')}
}

useChannel('invoices', { InvoicePaid: ({ invoice }) => invoice.toFixed(), OrderShipped: ({ carrier }) => carrier.trim() });
// @ts-expect-error this event is not declared
useChannel('invoices', { InvoiceSent: () => {} });
`;
	return files;
}

/** vue-tsc's errors in the files, with an application's compiler options. */
function typeErrors(files: Record<string, string>): string {
	const folder = mkdtempSync(join(tmpdir(), 'clarim-readme-'));
	try {
		mkdirSync(join(folder, 'src'));
		symlinkSync(join(packageFolder, 'node_modules'), join(folder, 'node_modules'));
		for (const [name, code] of Object.entries(files)) writeFileSync(join(folder, 'src', name), code);
		writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({
			compilerOptions: {
				target: 'es2022', module: 'esnext', moduleResolution: 'bundler', lib: ['es2023', 'dom', 'dom.iterable'],
				strict: true, noEmit: true, skipLibCheck: true, types: [],
				paths: {
					'@clarim/js/echo': [join(packageFolder, '../js/src/echo/index.ts')],
					'@clarim/js': [join(packageFolder, '../js/src/index.ts')],
					'@clarim/vue': [join(packageFolder, 'src/index.ts')],
				},
			},
			include: ['src', join(packageFolder, '../js/src/echo/env.d.ts')],
		}));
		const check = join(packageFolder, 'node_modules/.bin/vue-tsc');
		const { stdout, stderr, error } = spawnSync(check, ['--noEmit', '--pretty', 'false'], { cwd: folder, encoding: 'utf8' });
		return error ? String(error) : stdout + stderr;
	} finally {
		rmSync(folder, { recursive: true });
	}
}

describe.each(READMES)('the setup of %s', (file) => {
	afterEach(() => void vi.unstubAllEnvs());

	test('compiles', { timeout: 120_000 }, () => {
		const files = application(file);
		expect(Object.keys(files)).toEqual(expect.arrayContaining(['events.ts', 'whole1.ts', 'short0.ts', 'short1.ts', 'short2.ts']));
		expect(typeErrors(files)).toBe('');
	});

	test('installs all required packages in its first command', () => {
		const { name, peerDependencies } = JSON.parse(read('package.json')) as { name: string; peerDependencies: object };
		const needed = [name, ...Object.keys(peerDependencies).filter((one) => one !== 'vue')];
		expect(blocks(file, 'sh')[0]).toBe(`npm install ${needed.join(' ')}\n`);
	});

	test('names all variables that configure Echo', () => {
		const [, variables, ...more] = blocks(file, 'sh');
		expect(more).toEqual([]);
		const pairs = variables!.trim().split('\n').map((line) => line.split('=') as [string, string]);
		for (const [name, value] of pairs) vi.stubEnv(name, value);
		const needed = new Set(read('../js/src/echo/echo.ts').match(/(?<=env\.)VITE_\w+/g));
		expect(pairs.map(([name]) => name).sort()).toEqual([...needed].sort());
		const { VITE_REVERB_HOST, VITE_REVERB_PORT } = Object.fromEntries(pairs);
		const { pusher } = everything.createEcho({ enabledTransports: [] }).connector;
		pusher.disconnect();
		expect(pusher.key).toBe('my-key');
		expect(pusher.config).toMatchObject({ wsHost: VITE_REVERB_HOST, wsPort: Number(VITE_REVERB_PORT), useTLS: false });
	});

	test('uses only these languages in code blocks', () => {
		expect(blocks(file, 'sh', 'ts', 'vue')).toHaveLength(read(file).match(/^ *(```|~~~)/gm)!.length / 2);
	});
});
