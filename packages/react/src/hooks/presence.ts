import { followMembers, Store, type MemberCallbacks, type PresenceChannel } from '@clarim/js/echo';
import { useMemo } from 'react';
import { useHeldChannel, type ChannelName, type ChannelOptions } from './channel.js';
import type { DeclaredEvents, EventHandlers } from '../events.js';
import { useSource } from '../provider.js';
import { useLatest, useStore } from '../state.js';

/** The default type of a member's information. */
export type AnyMember = Record<string, any>;

export interface PresenceHandlers<M, E extends object = DeclaredEvents> extends ChannelOptions, MemberCallbacks<M> {
	events?: EventHandlers<NoInfer<E>>;
}

/** Subscribes to a presence channel, listens to `handlers.events`, and maintains the list of members. */
export function usePresenceChannel<M = AnyMember, E extends object = DeclaredEvents>(
	name: ChannelName, handlers: PresenceHandlers<M, E> = {},
): { channel: PresenceChannel | null; users: readonly M[] } {
	const keys = [useSource(), name || null];
	const users = useMemo(() => new Store<readonly M[]>([]), keys);
	const latest = useLatest(handlers, keys);
	const channel = useHeldChannel('presence', name, handlers.events ?? {}, handlers, (joined) =>
		followMembers<M>(joined, users, {
			here: (all) => latest.current?.here?.(all),
			joining: (user) => latest.current?.joining?.(user),
			leaving: (user) => latest.current?.leaving?.(user),
		}));
	return { channel, users: useStore(users) };
}
