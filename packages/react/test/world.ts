// The real server, a signing backend, and components on real pusher-js clients.

import { createElement, StrictMode, useState, type ReactNode } from 'react';
import { flushSync } from 'react-dom';
import { createRoot } from 'react-dom/client';
import { boundHandlers, requestHooks, startServers, state, until } from '../../js/test/echo/world.js';
import type { View } from '../../js/test/echo/suite.js';
import { ClarimProvider, type PusherEcho } from '../src/index.js';

export { boundHandlers, requestHooks, state, until };

export async function startWorld() {
	const servers = await startServers();
	/** Renders a tree into a new root. */
	const show = (tree: ReactNode): { render: (next: ReactNode) => void; unmount: () => void } => {
		const root = createRoot(document.createElement('div'));
		// As an event of the page does it, with all effects.
		const render = (next: ReactNode): void => flushSync(() => root.render(next));
		render(tree);
		return { render, unmount: servers.keep(() => flushSync(() => root.unmount())) };
	};
	return {
		...servers,
		show,
		/** Mounts a component that calls `use` with the argument and shows what it returns. */
		mount<A, T>(echo: PusherEcho, argument: A, use: (argument: A) => T, isStrict = false): View<A, T> {
			let now: T;
			let change: (next: { argument: A }) => void;
			const Component = (): ReactNode => {
				const [current, set] = useState({ argument });
				change = set;
				now = use(current.argument);
				return null;
			};
			const tree = createElement(ClarimProvider, { options: { echo } }, createElement(Component));
			const { unmount } = show(isStrict ? createElement(StrictMode, null, tree) : tree);
			return {
				get now() { return now; },
				change: (next) => flushSync(() => change({ argument: next })),
				unmount,
			};
		},
	};
}

export type World = Awaited<ReturnType<typeof startWorld>>;
