// Vite's `import.meta.env`, declared here so that users of the package don't need Vite's types.
interface ImportMeta {
	readonly env?: Record<string, string | undefined>;
}
