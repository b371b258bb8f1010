import type { PresenceChannel } from '../echo.js';
import { all, bind, type Emitter, type Unbind } from '../listeners.js';
import type { Store } from '../store.js';

export interface MemberCallbacks<M> {
	/** All members. Called after each subscription, so also after a lost connection. */
	here?: (users: M[]) => void;
	joining?: (user: M) => void;
	leaving?: (user: M) => void;
}

interface Member {
	/** A string in the member list; in joins and leaves the type that the application signed, often a number. */
	id: unknown;
	info?: unknown;
}

interface Members {
	each: (callback: (member: Member) => void) => void;
}

/** Keeps the list of a presence channel's members up to date, and empties it in the end. */
export function followMembers<M>(
	channel: PresenceChannel, users: Store<readonly M[]>, callbacks: MemberCallbacks<M>,
): Unbind {
	// By the protocol's user id: the application's member information may not contain an id.
	const members = new Map<string, M>();
	const show = (): void => users.set([...members.values()]);
	const put = ({ id, info }: Member): M => {
		const member = (info ?? { id: String(id) }) as M;
		members.set(String(id), member);
		return member;
	};
	const here = (everyone: Members): void => {
		members.clear();
		everyone.each(put);
		show();
		callbacks.here?.([...members.values()]);
	};

	const subscription = channel.subscription as unknown as (Emitter & { subscribed: boolean; members: Members }) | undefined;
	const unbind = all([
		bind(subscription, 'pusher:subscription_succeeded', here),
		bind(subscription, 'pusher:member_added', (member: Member) => {
			const user = put(member);
			show();
			callbacks.joining?.(user);
		}),
		bind(subscription, 'pusher:member_removed', ({ id }: Member) => {
			const user = members.get(String(id));
			if (user === undefined) return;
			members.delete(String(id));
			show();
			callbacks.leaving?.(user);
		}),
		() => users.set([]),
	]);
	// Another component has already subscribed, and `subscription_succeeded` is not sent again.
	if (subscription?.subscribed) here(subscription.members);
	return unbind;
}
