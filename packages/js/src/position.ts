/** A position in the history of a channel: after the event with this offset. */
export interface Position {
	/** Names the history that the offset belongs to. Opaque: only compare it for equality. */
	epoch: string;
	offset: number;
}

/**
 * Why missed events are not replayed.
 *
 * - `expired`: they are no longer kept.
 * - `too_many`: there are more than the server replays.
 * - `epoch`: the history began anew, for example because the server restarted without a store.
 * - `unknown`: the server doesn't know the position.
 * - `bus`: the node had lost the connection to the other nodes.
 * - `no_history`: the server kept no history of this channel, and the connection was interrupted.
 */
export type GapReason = 'expired' | 'too_many' | 'epoch' | 'unknown' | 'bus' | 'no_history';

/** Events of a channel were missed and are not replayed. */
export interface Gap {
	/** The channel's name with its prefix, as in `private-orders.7`. */
	channel: string;
	reason: GapReason;
}
