/** Notifications that were marked in another tab. `null` stands for all. */
export interface Marked {
	ids: string[] | null;
	/** `null` if saving failed, so that they are unread again. */
	readAt: string | null;
}

/** The other tabs of this browser that show the same list. */
export interface Tabs {
	tell(marked: Marked): void;
	close(): void;
}

export function otherTabs(name: string, heard: (marked: Marked) => void): Tabs {
	// Missing in browsers before 2022, and in some web views.
	if (typeof BroadcastChannel === 'undefined') return { tell() {}, close() {} };
	const channel = new BroadcastChannel(name);
	channel.onmessage = ({ data }: { data: Marked }) => heard(data);
	return {
		tell: (marked) => channel.postMessage(marked),
		close: () => channel.close(),
	};
}
