// @vitest-environment node
import { renderToString } from '@vue/server-renderer';
import { createSSRApp, h, ref } from 'vue';
import { expect, test, vi } from 'vitest';
import {
	ClarimVue, useChannel, useEcho, useEncryptedChannel, useModel, useNotifications, usePresenceChannel,
	usePrivateChannel, useSubscription, useUser, useWebSocketStatus, useWhisper,
} from '../src/index.js';

test('on the server nothing is created, subscribed or thrown', async () => {
	expect(typeof window).toBe('undefined');
	const echo = vi.fn();
	const load = vi.fn();
	const onRequest = vi.fn();
	const app = createSSRApp({
		setup() {
			const name = ref('orders.1');
			useChannel(name);
			useEncryptedChannel(name);
			const channel = usePrivateChannel(name);
			const { users } = usePresenceChannel(name);
			const { whisper } = useWhisper(channel, 'typing');
			const { isSubscribed } = useSubscription(channel);
			const { unread } = useNotifications('App.Models.User.1', { load });
			const { model } = useModel('App.Models.Order', 1, { load });
			const { user, signIn } = useUser();
			signIn();
			name.value = 'orders.2';
			const { connectionState } = useWebSocketStatus();
			return () => h('p', JSON.stringify([
				channel.value, users.value, whisper({}), isSubscribed.value, unread.value, model.value, user.value,
				connectionState.value, useEcho(),
			]));
		},
	});
	app.use(ClarimVue, { echo, http: { onRequest } });
	const html = (await renderToString(app)).replaceAll('&quot;', '"');
	expect(html).toBe('<p>[null,[],false,false,0,null,null,"initialized",null]</p>');
	expect(echo).not.toHaveBeenCalled();
	expect(onRequest).not.toHaveBeenCalled();
	expect(load).not.toHaveBeenCalled();
});
