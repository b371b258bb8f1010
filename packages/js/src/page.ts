/** The options of pusher-js and Echo that hold the page id. */
export interface PagePaths {
	wsPath?: string;
	httpPath?: string;
}

/** Returns a new page id. */
export function pageId(): string {
	// randomUUID doesn't exist on pages without TLS.
	return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * Returns the paths with a page id, to be spread into the options of pusher-js or Echo. The server then knows a page
 * that reconnects and replays what it missed. Pass the options if they have paths. Each client needs its own id.
 */
export function pagePaths(options: PagePaths = {}, id = pageId()): Required<PagePaths> {
	const { wsPath = '', httpPath = '/pusher' } = options;
	let connections = 0;
	const add = (path: string, folder: string): string => {
		if (path.includes('/~')) return path;
		const start = `${path.replace(/\/$/, '')}${folder}/~${id}.`;
		// pusher-js makes a text of it for each connection. The number tells a server that doesn't know the page whether
		// the page is back and may have missed something.
		return { toString: () => `${start}${++connections}` } as unknown as string;
	};
	return { wsPath: add(wsPath, '/app'), httpPath: add(httpPath, '') };
}
