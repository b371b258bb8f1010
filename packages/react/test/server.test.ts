// @vitest-environment node
import { createElement, type ReactNode } from 'react';
import { renderToString } from 'react-dom/server';
import { expect, test, vi } from 'vitest';
import {
	ClarimProvider, useChannel, useEcho, useEncryptedChannel, useModel, useNotifications, usePresenceChannel,
	usePrivateChannel, useSubscription, useUser, useWebSocketStatus, useWhisper,
} from '../src/index.js';

test('on the server nothing is created, subscribed, thrown or warned about', () => {
	expect(typeof window).toBe('undefined');
	const [echo, load, warn] = [vi.fn(), vi.fn(), vi.spyOn(console, 'error')];
	const Page = (): ReactNode => {
		useChannel('orders.1');
		useEncryptedChannel('orders.1');
		const channel = usePrivateChannel('orders.1');
		const { users } = usePresenceChannel('orders.1');
		const { whisper } = useWhisper(channel, 'typing');
		const { isSubscribed } = useSubscription(channel);
		const { unread } = useNotifications('App.Models.User.1', { load });
		const { model } = useModel('App.Models.Order', 1, { load });
		const { user, signIn } = useUser();
		signIn();
		const { connectionState } = useWebSocketStatus();
		return createElement('p', null, JSON.stringify([
			channel, users, whisper({}), isSubscribed, unread, model, user, connectionState, useEcho(),
		]));
	};
	const html = renderToString(createElement(ClarimProvider, { options: { echo } }, createElement(Page)));
	expect(html.replaceAll('&quot;', '"')).toBe('<p>[null,[],false,false,0,null,null,"initialized",null]</p>');
	expect(echo).not.toHaveBeenCalled();
	expect(load).not.toHaveBeenCalled();
	expect(warn).not.toHaveBeenCalled();
});
