import { onScopeDispose, ref, type Ref } from 'vue';

/** Returns the current time, updated regularly. */
export function useNow(period: number): Readonly<Ref<number>> {
	const now = ref(Date.now());
	const timer = setInterval(() => {
		now.value = Date.now();
	}, period);
	onScopeDispose(() => clearInterval(timer));
	return now;
}
