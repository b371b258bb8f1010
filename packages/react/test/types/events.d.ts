// As a generator writes them from the backend.
import '../../src/index.js';

declare module '../../src/index.js' {
	interface Events {
		OrderShipped: { order: number; carrier: string | null };
		'.order.paid': { order: number; amount: string };
	}
}
