import { usePresenceChannel } from '@clarim/vue';
import { computed, inject, provide, type ComputedRef, type InjectionKey } from 'vue';
import type { User } from '../events';

const ONLINE: InjectionKey<ComputedRef<ReadonlySet<number>>> = Symbol('online');

/** Joins the channel on which everybody is who has a page open: once, for all pages. */
export function provideOnline(): void {
	const { users } = usePresenceChannel<User>('online');
	provide(ONLINE, computed(() => new Set(users.value.map(({ id }) => id))));
}

/** The ids of those who are online. */
export function useOnline(): ComputedRef<ReadonlySet<number>> {
	const online = inject(ONLINE);
	if (!online) throw new Error('provideOnline has not been called above this component');
	return online;
}
