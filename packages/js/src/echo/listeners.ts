import type { Gap } from '../position.js';
import { recover } from '../recovery.js';
import type { PublicChannel } from './echo.js';

/** Removes a listener. */
export type Unbind = () => void;

type Callback = (...args: any[]) => void;

/** An event emitter of pusher-js: a connection, a channel or the user. */
export interface Emitter {
	bind(event: string, callback: Callback): unknown;
	unbind(event: string, callback: Callback): unknown;
}

interface Listenable {
	listen(event: string, callback: Callback): unknown;
	stopListening(event: string, callback: Callback): unknown;
}

/**
 * Wraps each listener in its own function. pusher-js removes listeners by identity: if two components used the
 * same function, the first to be unmounted would remove both listeners. Also, pusher-js keeps calling the
 * listeners that were registered when the event arrived, even removed ones.
 */
function own(callback: Callback): { listener: Callback; end: () => void } {
	let ended = false;
	return {
		listener: (...args) => {
			if (!ended) callback(...args);
		},
		end: () => {
			ended = true;
		},
	};
}

/** Listens to an event by its pusher-js name. */
export function bind(emitter: Emitter | undefined, event: string, callback: Callback): Unbind {
	const { listener, end } = own(callback);
	emitter?.bind(event, listener);
	return () => {
		end();
		emitter?.unbind(event, listener);
	};
}

/** Listens to an event by its Echo name (`.exact.name`, or a name in Echo's namespace). */
export function listen(channel: Listenable, event: string, callback: Callback): Unbind {
	const { listener, end } = own(callback);
	channel.listen(event, listener);
	return () => {
		end();
		channel.stopListening(event, listener);
	};
}

/** Listens to gaps of the channel: events that were missed and that the server does not replay. */
export function listenToGaps(channel: PublicChannel, callback: ((gap: Gap) => void) | undefined): Unbind {
	// Echo's null broadcaster has no client.
	if (!callback || !channel.pusher) return () => {};
	return recover(channel.pusher).onGap((gap) => {
		if (gap.channel === channel.name) callback(gap);
	});
}

/** Listens to all given events. */
export function listenToEach(channel: Listenable, handlers: object): Unbind[] {
	return Object.entries(handlers)
		.filter(([, callback]) => typeof callback === 'function')
		.map(([event, callback]) => listen(channel, event, callback as Callback));
}

/** Combines the functions that remove listeners. */
export const all = (unbinds: readonly Unbind[]): Unbind => () => {
	for (const unbind of unbinds) unbind();
};
