import { usePrivateChannel, useWhisper } from '@clarim/vue';
import type { MaybeRefOrGetter } from 'vue';
import { toValue } from 'vue';
import { me } from '../session';

/** Returns the users typing in this conversation. */
export function useTyping(conversation: MaybeRefOrGetter<number | null>) {
	const { id, name } = me();
	const channel = usePrivateChannel(() => {
		const open = toValue(conversation);
		return open === null ? null : `chat.${open}`;
	}, {
		// The sender of the message is no longer typing.
		MessageSent: ({ message }) => forget((whisper) => whisper.id === message.author),
	});
	const { whisper, recent, forget } = useWhisper<{ id: number; name: string }>(channel, 'typing', {
		throttle: 1200, expiry: 3000, key: (whispered) => whispered.id,
	});
	return { typing: recent, isTyping: () => whisper({ id, name }) };
}
