import { useI18n } from 'vue-i18n';
import { ApiError } from './session';

/** Returns the function that translates an error. */
export function useErrorText(): (error: unknown) => string {
	const { t, te } = useI18n();
	return (error) => {
		const code = error instanceof ApiError ? error.code : 'broken';
		const key = `errors.${code}`;
		if (te(key)) return t(key);
		const { status } = error as ApiError;
		return t(status >= 400 && status < 500 ? 'errors.invalid' : 'errors.broken');
	};
}
