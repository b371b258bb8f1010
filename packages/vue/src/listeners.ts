/** Takes a listener away again. */
export type Unbind = () => void;

type Callback = (...args: any[]) => void;

/** pusher-js's emitters: a connection, a channel, the user. */
export interface Emitter {
	bind(event: string, callback: Callback): unknown;
	unbind(event: string, callback: Callback): unknown;
}

interface Listenable {
	listen(event: string, callback: Callback): unknown;
	stopListening(event: string, callback: Callback): unknown;
}

/**
 * A function of its own for each listener: pusher-js removes by identity, so that of two components that
 * listen with the same function, the first to go would take the other's listener along. And it goes on
 * calling those who were there when the event came.
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

/** Listens under pusher-js's own name of an event. */
export function bind(emitter: Emitter | undefined, event: string, callback: Callback): Unbind {
	const { listener, end } = own(callback);
	emitter?.bind(event, listener);
	return () => {
		end();
		emitter?.unbind(event, listener);
	};
}

/** Listens under Echo's name of an event (`.as.it.is`, or in Echo's namespace). */
export function listen(channel: Listenable, event: string, callback: Callback): Unbind {
	const { listener, end } = own(callback);
	channel.listen(event, listener);
	return () => {
		end();
		channel.stopListening(event, listener);
	};
}

/** Listens to all of them. */
export function listenToEach(channel: Listenable, handlers: object): Unbind[] {
	return Object.entries(handlers)
		.filter(([, callback]) => typeof callback === 'function')
		.map(([event, callback]) => listen(channel, event, callback as Callback));
}
