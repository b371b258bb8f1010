import { shallowRef, type ShallowRef } from 'vue';
import { followChannel, type ChannelName, type ChannelOptions, type ChannelRef } from './channel.js';
import type { PresenceChannel } from '../echo.js';
import type { DeclaredEvents, EventHandlers } from '../events.js';
import { bind, listenToEach } from '../listeners.js';

/** The default type of a member's information. */
export type AnyMember = Record<string, any>;

export interface PresenceHandlers<M, E extends object = DeclaredEvents> extends ChannelOptions {
	/** All members. Called after each subscription, so also after a lost connection. */
	here?: (users: M[]) => void;
	joining?: (user: M) => void;
	leaving?: (user: M) => void;
	events?: EventHandlers<NoInfer<E>>;
}

interface Member {
	/** A string in the member list; in joins and leaves the type that the application signed, often a number. */
	id: unknown;
	info?: unknown;
}

/** Subscribes to a presence channel, listens to `handlers.events`, and maintains the list of members. */
export function usePresenceChannel<M = AnyMember, E extends object = DeclaredEvents>(
	name: ChannelName, handlers: PresenceHandlers<M, E> = {},
): { channel: ChannelRef<PresenceChannel>; users: Readonly<ShallowRef<readonly M[]>> } {
	const users = shallowRef<readonly M[]>([]);

	const channel = followChannel('usePresenceChannel', 'presence', name, (joined) => {
		// By the protocol's user id: the application's member information may not contain an id.
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
		// Another component has already subscribed, and `subscription_succeeded` is not sent again.
		if (subscription?.subscribed) here(subscription.members);
		return unbinds;
	}, handlers);

	return { channel, users };
}

interface Subscription {
	subscribed: boolean;
	members: { each: (callback: (member: Member) => void) => void };
	bind(event: string, callback: (...args: never[]) => void): unknown;
	unbind(event: string, callback: (...args: never[]) => void): unknown;
}
