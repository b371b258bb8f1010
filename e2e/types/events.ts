// Written by clarim's Types::write from the application's types: change those instead.

export type Greeting = { text: string, };

export type OrderShipped = { order: number, tracking: string, };

/** What is broadcast: the event's name as Echo's `listen` takes it, and what the callback gets. */
export interface Events {
  "Greeting": Greeting;
  "OrderShipped": OrderShipped;
}
