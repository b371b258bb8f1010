import { expect, test } from 'vitest';
import { digits, timeLabels } from '../src/dashboard/axis';

const HOUR = 3_600_000;
const marks = (step: number, count: number): number[] => Array.from({ length: count }, (_, n) => Date.UTC(2026, 10, 30, 12) + n * step);

test('labels of numbers have the digits of the step between them', () => {
	expect([0.05, 0.1, 0.25, 0.5, 1, 2, 50].map(digits)).toEqual([2, 1, 2, 1, 0, 0, 0]);
});

test('no two labels of times are the same, whatever the range', () => {
	for (const locale of ['pt-BR', 'en']) {
		for (const [step, count] of [[1000, 9], [15_000, 8], [30_000, 8], [60_000, 6], [15 * 60_000, 5], [3 * HOUR, 9], [6 * HOUR, 6]] as const) {
			const labels = timeLabels(marks(step, count), step, locale);
			expect(new Set(labels).size, `${step}: ${labels}`).toBe(count);
		}
	}
});
