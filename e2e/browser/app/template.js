// The template of both chats.

export const template = `
	<div class="chat">
		<ul id="online"><li v-for="user in onlineUsers" :key="user.id">{{ user.name }}</li></ul>
		<ul id="news"><li v-for="item in news">{{ item }}</li></ul>
		<ul id="orders"><li v-for="item in orders">{{ item }}</li></ul>
		<ul id="messages"><li v-for="item in messages">{{ item }}</li></ul>
		<div id="typing" v-if="typingUsers.length">
			{{ typingUsers.map(u => u.name).join(', ') }}
			{{ typingUsers.length === 1 ? 'está' : 'estão' }} digitando...
		</div>
		<input id="compose" @input="handleTyping" />
	</div>
`;
