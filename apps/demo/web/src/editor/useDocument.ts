import { usePresenceChannel, useSubscription, useWhisper } from '@clarim/vue';
import { computed, onBeforeUnmount, onMounted, onScopeDispose, shallowRef, watch } from 'vue';
import { Awareness } from 'y-protocols/awareness';
import * as Y from 'yjs';
import type { DocumentState, UpdateStored, User } from '../events';
import { useConnection } from '../layout/connection';
import { api, ApiError, me } from '../session';
import { session as tab } from '../storage';
import { Cursors, type Whispered } from './cursors';
import { DocumentSync, type SyncStatus } from './sync';

/**
 * Opens a document for collaborative editing. Updates go to the backend, which stores and broadcasts them on the
 * presence channel `document.{id}`; cursors are whispered there.
 */
export function useDocument(id: number) {
	const doc = new Y.Doc();
	const awareness = new Awareness(doc);
	const path = `/api/documents/${id}`;
	const key = `document.${me().id}.${id}`;
	const status = shallowRef<SyncStatus>({ isLoaded: false, isUnsaved: false, error: null });
	const code = (error: unknown): string => (error instanceof ApiError ? error.code : '');

	const sync = new DocumentSync(doc, {
		sync: (state) => api<DocumentState>('POST', `${path}/sync`, { state }),
		save: (update, isLast) => api<UpdateStored>('POST', `${path}/updates`, { update }, isLast),
		isTemporary: (error) => !(error instanceof ApiError) || error.status === 0 || error.status >= 500,
		isIncomplete: (error) => code(error) === 'incomplete',
	}, {
		get: () => tab.get(key),
		set: (update) => tab.set(key, update),
	}, (now) => {
		status.value = now;
	});

	const { channel, users } = usePresenceChannel<User>(`document.${id}`, {
		events: { DocumentUpdated: (event) => sync.receive(event) },
		// Sends the cursor to new members immediately.
		joining: () => whisper(cursors.own()),
		leaving: (user) => cursors.drop(user),
	});
	const { isSubscribed, error: refusal } = useSubscription(channel);
	const { isConnected } = useConnection();
	// At most five per second; Pusher's limit is ten client events per connection.
	const { whisper } = useWhisper<Whispered>(channel, 'cursor', {
		throttle: 200,
		trailing: true,
		expiry: 0,
		onWhisper: (whispered, userId) => cursors.hear(whispered, users.value.find((user) => String(user.id) === userId)),
	});
	const cursors = new Cursors(awareness, whisper);

	onMounted(() => sync.exchange());
	const leave = () => sync.leave();
	addEventListener('pagehide', leave);
	// Later updates arrive over the channel; fetches earlier ones and sends local edits.
	watch(isSubscribed, (subscribed) => {
		if (!subscribed) return;
		void sync.exchange();
		whisper(cursors.own());
	});
	onBeforeUnmount(() => {
		void sync.flush();
		if (isSubscribed.value) channel.value?.whisper('cursor', cursors.gone());
	});
	onScopeDispose(() => {
		removeEventListener('pagehide', leave);
		sync.stop();
		awareness.destroy();
		doc.destroy();
	});

	return {
		doc,
		awareness,
		users,
		isLoaded: computed(() => status.value.isLoaded),
		isUnsaved: computed(() => status.value.isUnsaved),
		error: computed(() => status.value.error),
		isForbidden: computed(() => code(status.value.error) === 'forbidden' || refusal.value?.status === 403),
		isOffline: computed(() => !isConnected.value || code(status.value.error) === 'offline'),
		retry: () => sync.exchange(),
	};
}
