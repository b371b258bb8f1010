import { useI18n } from 'vue-i18n';
import type { Metric } from '../events';

/** Formats values with units in the user's language. */
export function useFormat() {
	const { t, locale } = useI18n();
	const number = (value: number, digits = 1): string =>
		new Intl.NumberFormat(locale.value, { maximumFractionDigits: digits }).format(value);
	const reais = (value: number): string =>
		new Intl.NumberFormat(locale.value, { style: 'currency', currency: 'BRL', maximumFractionDigits: 0 }).format(value);
	/** A value without its unit. Amounts of money include it. */
	const plain = (metric: Metric, value: number | null): string => {
		if (value === null) return t('dashboardPage.comparison.nothing');
		return metric === 'sales_today' ? reais(value) : number(value);
	};
	const unit = (metric: Metric): string => t(`dashboardPage.units.${metric}`);
	const withUnit = (metric: Metric, value: number | null): string =>
		(value === null ? plain(metric, value) : `${plain(metric, value)} ${unit(metric)}`.trim());
	const bytes = (count: number): string => (count < 10_000 ? `${number(count, 0)} B` : `${number(count / 1024)} KiB`);
	const milliseconds = (value: number): string => (value < 10_000 ? `${number(value, 0)} ms` : `${number(value / 1000)} s`);
	/** 14:05:30 */
	const clock = (at: number): string =>
		new Intl.DateTimeFormat(locale.value, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' }).format(new Date(at));
	const duration = (value: number): string => {
		const seconds = Math.floor(value / 1000);
		return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
	};
	return { number, plain, unit, withUnit, bytes, milliseconds, clock, duration };
}
