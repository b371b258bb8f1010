import { followMembers, listenToEach, Store, type MemberCallbacks, type PresenceChannel } from '@clarim/js/echo';
import type { ShallowRef } from 'vue';
import { followChannel, type ChannelName, type ChannelOptions, type ChannelRef } from './channel.js';
import type { DeclaredEvents, EventHandlers } from '../events.js';
import { observed } from '../observed.js';

/** The default type of a member's information. */
export type AnyMember = Record<string, any>;

export interface PresenceHandlers<M, E extends object = DeclaredEvents> extends ChannelOptions, MemberCallbacks<M> {
	events?: EventHandlers<NoInfer<E>>;
}

/** Subscribes to a presence channel, listens to `handlers.events`, and maintains the list of members. */
export function usePresenceChannel<M = AnyMember, E extends object = DeclaredEvents>(
	name: ChannelName, handlers: PresenceHandlers<M, E> = {},
): { channel: ChannelRef<PresenceChannel>; users: Readonly<ShallowRef<readonly M[]>> } {
	const users = new Store<readonly M[]>([]);
	const channel = followChannel('usePresenceChannel', 'presence', name, (joined) => [
		...listenToEach(joined, handlers.events ?? {}),
		followMembers(joined, users, handlers),
	], handlers);
	return { channel, users: observed(users) };
}
