// Types of the parts of ../../../../e2e/support that these tests use.

declare module '*/support/clients.mjs' {
	interface Answer { json(): Promise<{ channels: Record<string, object> }> }
	export interface World {
		server: {
			key: string; port: number; start(): Promise<void>; kill(): Promise<unknown>;
		};
		sdk: {
			trigger(channel: string | string[], event: string, data: unknown): Promise<{ status: number }>;
			sendToUser(id: string, event: string, data: unknown): Promise<{ status: number }>;
			get(question: { path: string; params?: object }): Promise<Answer>;
		};
		auth: { endpoint: string; userEndpoint: string; requests: { fields: { channel_name?: string } }[]; isAway: boolean };
		close(): Promise<void>;
	}
	export function world(): Promise<World>;
}

declare module '*/support/events.mjs' {
	export function until(
		ask: () => unknown, options?: { what?: string; timeout?: number; every?: number },
	): Promise<void>;
}
