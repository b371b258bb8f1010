// /tutorial and /echo-vue are the same chat, written in two ways.

import { createApp, ref } from 'vue';

const user = JSON.parse(decodeURIComponent(document.cookie.match(/user=([^;]+)/)[1]));
const chat = location.pathname === '/tutorial'
	? await import('./tutorial/Chat.js')
	: await import('./echo-vue/Chat.js');

createApp({
	components: { Chat: chat.default, ConnectionIndicator: chat.ConnectionIndicator },
	setup: () => ({ user, open: ref(true) }),
	template: `
		<ConnectionIndicator />
		<button id="toggle" @click="open = !open">{{ open ? 'Sair da sala' : 'Entrar na sala' }}</button>
		<Chat v-if="open" :chat-id="1" :auth="{ user }" />
	`,
}).mount('#app');
