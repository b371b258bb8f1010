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
