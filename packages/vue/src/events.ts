/**
 * The application's events, name → payload. Empty here: declare yours, or those generated from the backend,
 * and every composable knows them.
 *
 * ```ts
 * declare module '@clarim/vue' {
 *   interface Events {
 *     OrderShipped: { order: number };
 *     '.order.paid': { order: number; amount: string };
 *   }
 * }
 * ```
 *
 * The names are those that Echo's `listen` takes: with a leading dot, the name as it is on the wire; without
 * one, a name in Echo's namespace (`App.Events`).
 */
export interface Events {}

/** What is declared in {@link Events}; while nothing is, any name with any payload. */
export type DeclaredEvents = keyof Events extends never ? Record<string, any> : Events;

/** A callback for each event that is to be heard. */
export type EventHandlers<E extends object = DeclaredEvents> = {
	[Name in keyof E]?: (payload: E[Name]) => void;
};
