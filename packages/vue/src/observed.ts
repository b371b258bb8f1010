import type { Readable } from '@clarim/js/echo';
import { shallowRef, type ShallowRef } from 'vue';

/** Returns a ref to a value that belongs to the composable itself, and so needs no clean-up. */
export function observed<T>(store: Readable<T>): ShallowRef<T> {
	const ref = shallowRef(store.get()) as ShallowRef<T>;
	store.subscribe(() => {
		ref.value = store.get();
	});
	return ref;
}
