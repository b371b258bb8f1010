import { usePrivateChannel, useSubscription } from '@clarim/vue';
import { computed, type ComputedRef, type Ref } from 'vue';

/** Whether the backend denied this user access to the conversation's channel. */
export function useRefusal(conversation: Ref<number | null>): ComputedRef<boolean> {
	const channel = usePrivateChannel(() => (conversation.value === null ? null : `chat.${conversation.value}`));
	const { error } = useSubscription(channel);
	return computed(() => error.value?.status === 403);
}
