import { usePresenceChannel } from '@clarim/vue';
import { computed, inject, provide, type ComputedRef, type InjectionKey } from 'vue';
import type { User } from '../events';

const ONLINE: InjectionKey<ComputedRef<ReadonlySet<number>>> = Symbol('online');

/** Subscribes to the presence channel of all users with an open page. Called once for all pages. */
export function provideOnline(): void {
	const { users } = usePresenceChannel<User>('online');
	provide(ONLINE, computed(() => new Set(users.value.map(({ id }) => id))));
}

/** Ids of the online users. */
export function useOnline(): ComputedRef<ReadonlySet<number>> {
	const online = inject(ONLINE);
	if (!online) throw new Error('provideOnline has not been called above this component');
	return online;
}
