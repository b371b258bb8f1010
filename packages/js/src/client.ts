import type Pusher from 'pusher-js';

/** An Echo instance on pusher-js. */
export interface EchoClient {
	connector: { pusher: Pusher };
}

export type Client = Pusher | EchoClient;

/** Returns the pusher-js client. */
export const pusherOf = (client: Client): Pusher => ('connector' in client ? client.connector.pusher : client);
