import { shallowRef, type ShallowRef } from 'vue';
import { followChannel, type ChannelName, type ChannelRef } from './channel.js';
import type { PresenceChannel } from './echo.js';
import type { DeclaredEvents, EventHandlers } from './events.js';
import { bind, listenToEach } from './listeners.js';

/** What is known of a member as long as nothing is said about it. */
export type AnyMember = Record<string, any>;

export interface PresenceHandlers<M, E extends object = DeclaredEvents> {
	/** Everybody who is there, each time the channel has been joined (after a lost connection too). */
	here?: (users: M[]) => void;
	joining?: (user: M) => void;
	leaving?: (user: M) => void;
	events?: EventHandlers<NoInfer<E>>;
}

interface Member {
	/** A string in the list, and whatever the application signed (often a number) where one comes or goes. */
	id: unknown;
	info?: unknown;
}

/** Joins a presence channel, listens to `handlers.events`, and keeps the list of who is there. */
export function usePresenceChannel<M = AnyMember, E extends object = DeclaredEvents>(
	name: ChannelName, handlers: PresenceHandlers<M, E> = {},
): { channel: ChannelRef<PresenceChannel>; users: Readonly<ShallowRef<readonly M[]>> } {
	const users = shallowRef<readonly M[]>([]);

	const channel = followChannel('usePresenceChannel', 'presence', name, (joined) => {
		// By the id of the protocol: what the application tells of a member need not have one.
		const members = new Map<string, M>();
		const show = (): void => {
			users.value = [...members.values()];
		};
		const put = ({ id, info }: Member): M => {
			const member = (info ?? { id: String(id) }) as M;
			members.set(String(id), member);
			return member;
		};
		const here = (all: { each: (callback: (member: Member) => void) => void }): void => {
			members.clear();
			all.each(put);
			show();
			handlers.here?.([...members.values()]);
		};

		const subscription = joined.subscription as unknown as Subscription | undefined;
		const unbinds = [
			bind(subscription, 'pusher:subscription_succeeded', here),
			bind(subscription, 'pusher:member_added', (member: Member) => {
				const user = put(member);
				show();
				handlers.joining?.(user);
			}),
			bind(subscription, 'pusher:member_removed', ({ id }: Member) => {
				const user = members.get(String(id));
				if (user === undefined) return;
				members.delete(String(id));
				show();
				handlers.leaving?.(user);
			}),
			...listenToEach(joined, handlers.events ?? {}),
			() => {
				users.value = [];
			},
		];
		// Another component has joined before, and its welcome won't come again.
		if (subscription?.subscribed) here(subscription.members);
		return unbinds;
	});

	return { channel, users };
}

interface Subscription {
	subscribed: boolean;
	members: { each: (callback: (member: Member) => void) => void };
	bind(event: string, callback: (...args: never[]) => void): unknown;
	unbind(event: string, callback: (...args: never[]) => void): unknown;
}
