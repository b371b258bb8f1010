// Labels of axes: each different from the others.

/** Digits after the decimal separator that a step of this size needs. */
export function digits(step: number): number {
	for (let count = 0; count < 6; count += 1) {
		const scaled = step * 10 ** count;
		if (Math.abs(scaled - Math.round(scaled)) < 1e-6) return count;
	}
	return 6;
}

/** Times in milliseconds. `step` is in milliseconds too. */
export function timeLabels(marks: readonly number[], step: number, locale: string): string[] {
	const format = (options: Intl.DateTimeFormatOptions) => {
		const formatter = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23', ...options });
		return marks.map((mark) => formatter.format(mark));
	};
	const short = format(step < 60_000 ? { second: '2-digit' } : {});
	return new Set(short).size === short.length ? short : format({ weekday: 'short' });
}
