import { expect, test } from 'vitest';
import { parts } from '../src/ui/parts';

const shown = (body: string): string[] => parts(body, ['ana', 'bruno']).map(({ kind, text }) => (kind === 'text' ? text : `${kind}:${text}`));

test('links end before punctuation', () => {
	expect(shown('Veja https://example.com/a?b=1. E isto: http://localhost:8000, ok?')).toEqual([
		'Veja ', 'link:https://example.com/a?b=1', '. E isto: ', 'link:http://localhost:8000', ', ok?',
	]);
	expect(shown('(https://example.com/x) https://pt.wikipedia.org/wiki/Clarim_(instrumento)')).toEqual([
		'(', 'link:https://example.com/x', ') ', 'link:https://pt.wikipedia.org/wiki/Clarim_(instrumento)',
	]);
});

test('only http and https are links', () => {
	expect(shown('javascript:alert(1) data:text/html,x <b>https://')).toEqual(['javascript:alert(1) data:text/html,x <b>https://']);
});

test('members are mentioned, others and addresses are not', () => {
	expect(shown('@ana e @Bruno, não @davi nem x@ana.com')).toEqual(['mention:@ana', ' e ', 'mention:@Bruno', ', não @davi nem x@ana.com']);
});

test('Markdown is bold, italic and code, around links and mentions too', () => {
	const marked = (body: string) => parts(body, ['ana']).map(({ kind, text, isBold, isItalic }) =>
		`${isBold ? 'b' : ''}${isItalic ? 'i' : ''}${kind === 'text' ? '' : kind}:${text}`);
	expect(marked('um **dois** *três* _quatro_ `**x** @ana`')).toEqual([':um ', 'b:dois', ': ', 'i:três', ': ', 'i:quatro', ': ', 'code:**x** @ana']);
	expect(marked('**oi @ana, _veja_ https://example.com/a_b_c**')).toEqual([
		'b:oi ', 'bmention:@ana', 'b:, ', 'bi:veja', 'b: ', 'blink:https://example.com/a_b_c',
	]);
	expect(marked('```\nlet a = 1;\nlet b = `x`;\n```')).toEqual(['code:let a = 1;\nlet b = `x`;']);
	expect(marked('2 * 3 * 4, snake_case_name, *.js e *.ts, ** e **, `')).toEqual([':2 * 3 * 4, snake_case_name, *.js e *.ts, ** e **, `']);
	expect(marked('<b>**não**</b>')).toEqual([':<b>', 'b:não', ':</b>']);
});

test('a link with a label goes to http and https only', () => {
	expect(parts('[aqui](https://example.com/x).', [])).toEqual([
		{ kind: 'link', text: 'aqui', href: 'https://example.com/x' }, { kind: 'text', text: '.' },
	]);
	expect(shown('[aqui](javascript:alert(1))')).toEqual(['[aqui](javascript:alert(1))']);
});

test('a message of marks only is split quickly', () => {
	for (const mark of ['*', '_', '`', '**', '*_', '[', '**a', '*a ', '_a*b ']) {
		const begun = performance.now();
		parts(mark.repeat(2000 / mark.length), ['ana']);
		expect(performance.now() - begun, mark).toBeLessThan(1000);
	}
});
