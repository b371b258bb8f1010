// The READMEs' code compiles, and names everything that the package exports.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import * as everything from '../src/index.js';

const packageFolder = join(import.meta.dirname, '..');
const read = (name: string): string => readFileSync(join(packageFolder, name), 'utf8');

const blocks = (file: string, language: string): string[] =>
	[...read(file).matchAll(/^```(\w+)\n(.*?)^```$/gms)].filter(([, one]) => one === language).map(([, , code]) => code!);

/** The compiler's errors in the code of an application. */
function typeErrors(codes: string[]): string {
	const folder = mkdtempSync(join(tmpdir(), 'clarim-readme-'));
	try {
		symlinkSync(join(packageFolder, 'node_modules'), join(folder, 'node_modules'));
		for (const [n, code] of codes.entries()) writeFileSync(join(folder, `example${n}.ts`), code);
		writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({
			compilerOptions: {
				target: 'es2022', module: 'esnext', moduleResolution: 'bundler', lib: ['es2023', 'dom', 'dom.iterable'],
				strict: true, noEmit: true, skipLibCheck: true, types: [],
				paths: { '@clarim/js': [join(packageFolder, 'src/index.ts')] },
			},
		}));
		const check = join(packageFolder, 'node_modules/.bin/tsc');
		const { stdout, stderr, error } = spawnSync(check, ['--pretty', 'false'], { cwd: folder, encoding: 'utf8' });
		return error ? String(error) : stdout + stderr;
	} finally {
		rmSync(folder, { recursive: true });
	}
}

describe.each(['README.md', 'README.pt-BR.md'])('%s', (file) => {
	test('has code that compiles', { timeout: 120_000 }, () => {
		const codes = blocks(file, 'ts');
		expect(codes.length).toBeGreaterThan(4);
		expect(typeErrors(codes)).toBe('');
	});

	test('names all exports, reasons and required packages', () => {
		const text = read(file);
		for (const name of Object.keys(everything)) expect(text).toContain(`\`${name}(`);
		const reasons = /GapReason = (.*);/.exec(read('src/position.ts'))![1]!.match(/\w+/g)!;
		expect(reasons.length).toBeGreaterThan(5);
		for (const reason of reasons) expect(text).toMatch(new RegExp(`^\\| \`${reason}\` \\|`, 'm'));
		const { name, peerDependencies, peerDependenciesMeta: optional } = JSON.parse(read('package.json')) as Record<
			'peerDependencies' | 'peerDependenciesMeta', object
		> & { name: string };
		const needed = Object.keys(peerDependencies).filter((one) => !(one in optional));
		expect(blocks(file, 'sh')).toEqual([`npm install ${[name, ...needed].join(' ')}\n`]);
	});
});
