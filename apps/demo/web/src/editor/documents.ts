// The list of the user's documents.

import { usePrivateChannel, useSubscription } from '@clarim/vue';
import { onMounted, ref, shallowRef, watch } from 'vue';
import type { Document } from '../events';
import { api } from '../session';

/** Maximum length of a title, as in the backend. */
export const MAX_TITLE = 80;

export function useDocuments() {
	const all = shallowRef<Document[]>([]);
	const isLoaded = ref(false);
	const error = ref<unknown>(null);

	async function load(): Promise<void> {
		try {
			all.value = await api<Document[]>('GET', '/api/documents');
			isLoaded.value = true;
			error.value = null;
		} catch (problem) {
			error.value = problem;
		}
	}
	const add = (document: Document): void => {
		if (all.value.some(({ id }) => id === document.id)) return;
		all.value = [document, ...all.value];
	};
	/** In the precision that is shown. */
	const edited = (id: number): void => {
		const now = Date.now();
		if (!all.value.some((one) => one.id === id && now - one.edited_at > 20_000)) return;
		all.value = all.value.map((one) => (one.id === id ? { ...one, edited_at: now } : one));
	};
	async function create(title: string): Promise<Document> {
		const document = await api<Document>('POST', '/api/documents', { title });
		add(document);
		return document;
	}

	async function rename(id: number, title: string): Promise<void> {
		await api('PUT', `/api/documents/${id}`, { title });
		all.value = all.value.map((one) => (one.id === id ? { ...one, title } : one));
	}
	async function remove(id: number): Promise<void> {
		await api('DELETE', `/api/documents/${id}`);
		all.value = all.value.filter((one) => one.id !== id);
	}

	// Changes of others.
	const channel = usePrivateChannel('documents', {
		DocumentCreated: ({ document }) => add(document),
		DocumentsChanged: () => void load(),
	}, { onMissed: load });
	const { isSubscribed } = useSubscription(channel);
	let isCurrent = false;
	watch(isSubscribed, async (subscribed) => {
		if (!subscribed || isCurrent) return;
		await load();
		isCurrent = error.value === null;
	});
	onMounted(load);

	return { all, isLoaded, error, load, create, rename, remove, edited };
}
