import { shallowRef } from 'vue';

export interface Toast {
	id: number;
	title: string;
	text?: string;
	kind: 'info' | 'success' | 'warning' | 'error';
	/** Click action. */
	action?: { label: string; run: () => void };
}

export const toasts = shallowRef<readonly Toast[]>([]);
/** More would cover the page. */
const MAX = 2;
let last = 0;

/** Shows a toast. It disappears by itself, so its information must be available elsewhere too. */
export function toast(what: Omit<Toast, 'id' | 'kind'> & { kind?: Toast['kind'] }): void {
	last += 1;
	toasts.value = [...toasts.value.slice(1 - MAX), { kind: 'info', ...what, id: last }];
}

export function dismiss(id: number): void {
	toasts.value = toasts.value.filter((one) => one.id !== id);
}
