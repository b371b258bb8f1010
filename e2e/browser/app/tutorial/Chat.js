// The composables of a tutorial on Laravel Echo, with a global Echo.

import { onUnmounted, ref } from 'vue';
import './bootstrap.js';
import { template } from '../template.js';
import { useChannel, usePresenceChannel, usePrivateChannel } from './useChannel.js';
import { useWebSocketStatus } from './useWebSocketStatus.js';

window.socketId = () => Echo.socketId();

export const ConnectionIndicator = {
	setup: useWebSocketStatus,
	template: `<span id="connection" :title="connectionState">{{ isConnected ? 'Online' : 'Offline' }}</span>`,
};

export default {
	props: { chatId: Number, auth: Object },
	template,
	setup(props) {
		const [news, orders, messages, typingUsers] = [ref([]), ref([]), ref([]), ref([])];

		useChannel('news', { NewsPublished: (e) => news.value.push(e.title) });
		usePrivateChannel('orders.7', { OrderShipped: (e) => orders.value.push(e.title) });
		const { users: onlineUsers } = usePresenceChannel(`chat.${props.chatId}`, {
			events: { MessageSent: (e) => messages.value.push(e.title) },
		});

		let typingTimeout;
		function handleTyping() {
			Echo.private(`chat.${props.chatId}`).whisper('typing', { user: props.auth.user });
		}
		Echo.private(`chat.${props.chatId}`).listenForWhisper('typing', (e) => {
			if (!typingUsers.value.find((u) => u.id === e.user.id)) typingUsers.value.push(e.user);
			clearTimeout(typingTimeout);
			typingTimeout = setTimeout(() => {
				typingUsers.value = typingUsers.value.filter((u) => u.id !== e.user.id);
			}, 2000);
		});
		onUnmounted(() => Echo.leaveChannel(`private-chat.${props.chatId}`));

		return { news, orders, messages, onlineUsers, typingUsers, handleTyping };
	},
};
