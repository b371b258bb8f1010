// What Vite adds, told here so that users of the package need not have Vite's types.
interface ImportMeta {
	readonly env?: Record<string, string | undefined>;
}
