import { useI18n } from 'vue-i18n';
import { useErrorText } from '../../errors';
import type { Message } from '../../events';
import { me } from '../../session';
import { toast } from '../../ui/toasts';
import { react } from '../conversations';

/** As in the backend. */
export const EMOJIS = ['👍', '❤️', '😂', '🎉', '👀', '✅'];

export const isMyReaction = (message: Message, emoji: string): boolean =>
	message.reactions.some((one) => one.emoji === emoji && one.users.includes(me().id));

/** Returns the function that adds or takes back this user's reaction. */
export function useToggle(): (message: Message, emoji: string) => Promise<void> {
	const { t } = useI18n();
	const errorText = useErrorText();
	return (message, emoji) => react(message, emoji, !isMyReaction(message, emoji))
		.catch((error) => toast({ kind: 'error', title: t('chatPage.notChanged'), text: errorText(error) }));
}
