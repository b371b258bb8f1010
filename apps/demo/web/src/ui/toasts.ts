import { shallowRef } from 'vue';

export interface Toast {
	id: number;
	title: string;
	text?: string;
	kind: 'info' | 'success' | 'warning' | 'error';
	/** What a click on it does. */
	action?: { label: string; run: () => void };
}

export const toasts = shallowRef<readonly Toast[]>([]);
let last = 0;

/** Shows a toast. What it says must be found elsewhere too: it goes by itself. */
export function toast(what: Omit<Toast, 'id' | 'kind'> & { kind?: Toast['kind'] }): void {
	last += 1;
	toasts.value = [...toasts.value.slice(-3), { kind: 'info', ...what, id: last }];
}

export function dismiss(id: number): void {
	toasts.value = toasts.value.filter((one) => one.id !== id);
}
