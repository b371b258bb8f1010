// The same chat with the composables of @laravel/echo-vue and its default configuration.

import { computed, onMounted, ref } from 'vue';
import {
	configureEcho, echo, useConnectionStatus, useEcho, useEchoPresence, useEchoPublic,
} from '@laravel/echo-vue';
import { template } from '../template.js';

configureEcho({ broadcaster: 'reverb' });

window.socketId = () => echo().socketId();

export const ConnectionIndicator = {
	setup() {
		const status = useConnectionStatus();
		return { status, words: computed(() => (status.value === 'connected' ? 'Online' : 'Offline')) };
	},
	template: '<span id="connection" :title="status">{{ words }}</span>',
};

export default {
	props: { chatId: Number, auth: Object },
	template,
	setup(props) {
		const [news, orders, messages] = [ref([]), ref([]), ref([])];
		const [onlineUsers, typingUsers] = [ref([]), ref([])];

		useEchoPublic('news', 'NewsPublished', (e) => news.value.push(e.title));
		useEcho('orders.7', 'OrderShipped', (e) => orders.value.push(e.title));
		const { channel } = useEchoPresence(`chat.${props.chatId}`, 'MessageSent', (e) => messages.value.push(e.title));

		let typingTimeout;
		onMounted(() => {
			channel()
				.here((users) => { onlineUsers.value = users; })
				.joining((user) => onlineUsers.value.push(user))
				.leaving((user) => { onlineUsers.value = onlineUsers.value.filter((u) => u.id !== user.id); })
				.listenForWhisper('typing', ({ user }) => {
					typingUsers.value = [user];
					clearTimeout(typingTimeout);
					typingTimeout = setTimeout(() => { typingUsers.value = []; }, 2000);
				});
		});
		const handleTyping = () => channel().whisper('typing', { user: props.auth.user });

		return { news, orders, messages, onlineUsers, typingUsers, handleTyping };
	},
};
