// /tutorial and /echo-vue are the same chat, implemented in two ways. /follow/… is a page without a chat.

import { createApp, ref } from 'vue';

const pages = {
	tutorial: async () => showChat(await import('./tutorial/Chat.js')),
	'echo-vue': async () => showChat(await import('./echo-vue/Chat.js')),
	follow: () => import('./follow.js'),
};
await pages[location.pathname.split('/')[1]]();

function showChat(chat) {
	const user = JSON.parse(decodeURIComponent(document.cookie.match(/user=([^;]+)/)[1]));
	createApp({
		components: { Chat: chat.default, ConnectionIndicator: chat.ConnectionIndicator },
		setup: () => ({ user, open: ref(true) }),
		template: `
			<ConnectionIndicator />
			<button id="toggle" @click="open = !open">{{ open ? 'Sair da sala' : 'Entrar na sala' }}</button>
			<Chat v-if="open" :chat-id="1" :auth="{ user }" />
		`,
	}).mount('#app');
}
