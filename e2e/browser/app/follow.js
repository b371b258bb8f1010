// A page whose order changes, for each way to follow its channel: @clarim/vue, echo-vue with the channel name
// as a string, and echo-vue with the parts of the name as dependencies.

import { createApp, ref } from 'vue';
import { ClarimVue, useChannel, usePrivateChannel } from '@clarim/vue';
import { configureEcho, useEcho, useEchoPublic } from '@laravel/echo-vue';

const order = ref(7);
const heard = ref([]);
const show = ({ title }) => heard.value.push(title);

const ways = {
	'/follow/clarim': () => {
		usePrivateChannel(() => `orders.${order.value}`, { OrderShipped: show });
		useChannel('news', { NewsPublished: show });
	},
	'/follow/echo-vue': () => {
		useEcho(`orders.${order.value}`, 'OrderShipped', show);
		useEchoPublic('news', 'NewsPublished', show);
	},
	'/follow/echo-vue-dependencies': () => {
		useEcho(`orders.${order.value}`, 'OrderShipped', show, [order]);
		useEchoPublic('news', 'NewsPublished', show);
	},
};

configureEcho({ broadcaster: 'reverb' });

createApp({
	setup() {
		ways[location.pathname]();
		return { order, heard };
	},
	template: `
		<input id="order" v-model.number="order" />
		<ul id="heard"><li v-for="title in heard">{{ title }}</li></ul>
	`,
}).use(ClarimVue, {
	key: import.meta.env.VITE_REVERB_APP_KEY,
	host: import.meta.env.VITE_REVERB_HOST,
	port: import.meta.env.VITE_REVERB_PORT,
	scheme: import.meta.env.VITE_REVERB_SCHEME,
}).mount('#app');
