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
 * that reconnects and replays what it missed. Pass the options if they have paths. Each connection needs its own id.
 */
export function pagePaths(options: PagePaths = {}, id = pageId()): Required<PagePaths> {
	const { wsPath = '', httpPath = '/pusher' } = options;
	const add = (path: string, folder: string): string =>
		path.includes('/~') ? path : `${path.replace(/\/$/, '')}${folder}/~${id}`;
	return { wsPath: add(wsPath, '/app'), httpPath: add(httpPath, '') };
}
