// The browser's storages. They may be full, or forbidden with all cookies; the application works without them.

function storage(of: () => Storage) {
	const attempt = <T>(work: (storage: Storage) => T): T | null => {
		try {
			return work(of());
		} catch {
			return null;
		}
	};
	return {
		get: (key: string): string | null => attempt((storage) => storage.getItem(key)),
		/** `null` removes it. */
		set(key: string, value: string | null): void {
			attempt((storage) => (value === null ? storage.removeItem(key) : storage.setItem(key, value)));
		},
		clear(): void {
			attempt((storage) => storage.clear());
		},
	};
}

/** Of this browser. */
export const local = storage(() => localStorage);
/** Of this tab. */
export const session = storage(() => sessionStorage);
