import { getCurrentInstance, getCurrentScope, onMounted } from 'vue';

/**
 * Runs `start` in the browser. In a component it runs when the component is mounted, so never on the server and
 * not before hydration is complete. In a scope without a component, or after the component was mounted, it runs
 * immediately. Watchers of `start` end with the component or the scope.
 */
export function inBrowser(composable: string, start: () => void): void {
	const scope = getCurrentScope();
	if (!scope) {
		throw new Error(
			`${composable}() must be called in setup() or in an effectScope(), which ends its subscription`,
		);
	}
	const run = (): void => {
		// The hook runs in the component's scope; the caller may have its own scope inside it.
		if (scope.active) scope.run(start);
	};
	const component = getCurrentInstance();
	if (component && !component.isMounted) onMounted(run);
	else if (typeof window !== 'undefined') run();
}
