// The READMEs cover all hooks, and their code compiles.

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import * as everything from '../src/index.js';

const packageFolder = join(import.meta.dirname, '..');
const read = (name: string): string => readFileSync(join(packageFolder, name), 'utf8');
const READMES = ['README.md', 'README.pt-BR.md'];
const hooks = Object.keys(everything).filter((name) => /^use[A-Z]/.test(name));

/** The code blocks in these languages. */
const blocks = (file: string, ...languages: string[]): string[] =>
	[...read(file).matchAll(/^```(\w+)\n(.*?)^```$/gms)]
		.filter(([, language]) => languages.includes(language!)).map(([, , code]) => code!);

test.each(hooks)('%s has a section of its own, with an example that uses it', (name) => {
	for (const file of READMES) {
		const section = read(file).split(/^### /m).find((one) => one.startsWith(`${name}\n`));
		const example = /^```tsx\n(.*?)^```$/ms.exec(section ?? '')?.[1];
		expect(example, file).toMatch(new RegExp(`import \\{[^}]*\\b${name}\\b[^}]*\\} from '@clarim/react'`));
		expect(example, file).toMatch(new RegExp(`\\b${name}[<(]`));
	}
});

test('finds all hooks', () => {
	expect(hooks.length).toBeGreaterThan(10);
});

/** The compiler's errors in the code, with an application's options. */
function typeErrors(files: Record<string, string>): string {
	const folder = mkdtempSync(join(tmpdir(), 'clarim-readme-'));
	try {
		mkdirSync(join(folder, 'src'));
		symlinkSync(join(packageFolder, 'node_modules'), join(folder, 'node_modules'));
		for (const [name, code] of Object.entries(files)) writeFileSync(join(folder, 'src', name), code);
		writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({
			compilerOptions: {
				target: 'es2022', module: 'esnext', moduleResolution: 'bundler', lib: ['es2023', 'dom', 'dom.iterable'],
				jsx: 'react-jsx', strict: true, noEmit: true, skipLibCheck: true, types: [],
				paths: {
					'@clarim/js/echo': [join(packageFolder, '../js/src/echo/index.ts')],
					'@clarim/js': [join(packageFolder, '../js/src/index.ts')],
					'@clarim/react': [join(packageFolder, 'src/index.ts')],
				},
			},
			include: ['src', join(packageFolder, '../js/src/echo/env.d.ts')],
		}));
		const check = join(packageFolder, 'node_modules/.bin/tsc');
		const { stdout, stderr, error } = spawnSync(check, ['--pretty', 'false'], { cwd: folder, encoding: 'utf8' });
		return error ? String(error) : stdout + stderr;
	} finally {
		rmSync(folder, { recursive: true });
	}
}

describe.each(READMES)('%s', (file) => {
	test('has code that compiles, and wrong events do not', { timeout: 120_000 }, () => {
		const files: Record<string, string> = {
			'App.tsx': 'export const App = () => <p />;\n',
			'wrong.tsx': [
				'import { useChannel } from \'@clarim/react\';',
				'// @ts-expect-error this event is not declared',
				'useChannel(\'orders\', { OrderSent: () => {} });',
				'// @ts-expect-error no such field',
				'useChannel(\'orders\', { OrderShipped: ({ carier }) => carier });',
			].join('\n'),
		};
		// As .ts, because skipLibCheck disables checks in .d.ts files.
		for (const code of blocks(file, 'ts')) files['events.ts'] = code;
		for (const [n, code] of blocks(file, 'tsx').entries()) files[`example${n}.tsx`] = code;
		expect(Object.keys(files).length).toBeGreaterThan(12);
		expect(typeErrors(files)).toBe('');
	});

	test('installs all required packages in its first command', () => {
		const { name, peerDependencies } = JSON.parse(read('package.json')) as { name: string; peerDependencies: object };
		const needed = [name, ...Object.keys(peerDependencies).filter((one) => one !== 'react')];
		expect(blocks(file, 'sh')[0]).toBe(`npm install ${needed.join(' ')}\n`);
	});

	test('names all variables that configure Echo', () => {
		const named = [...blocks(file, 'sh')[1]!.matchAll(/^VITE_\w+/gm)].map(([name]) => name);
		const needed = new Set(read('../js/src/echo/echo.ts').match(/(?<=env\.)VITE_\w+/g));
		expect(named.sort()).toEqual([...needed].sort());
	});
});
