import { getCurrentInstance, getCurrentScope, onMounted } from 'vue';

/**
 * Runs `start` in the browser: in a component when it is mounted (so never on the server, and not before
 * hydration is over), in a scope without a component at once. What `start` watches ends with the component or
 * the scope.
 */
export function inBrowser(composable: string, start: () => void): void {
	const scope = getCurrentScope();
	if (!scope) {
		throw new Error(
			`${composable}() belongs into setup() or an effectScope(): elsewhere nothing would ever end it`,
		);
	}
	const run = (): void => {
		// The hook runs in the component's scope, and the caller may have had one of their own within it.
		if (scope.active) scope.run(start);
	};
	if (getCurrentInstance()) onMounted(run);
	else if (typeof window !== 'undefined') run();
}
