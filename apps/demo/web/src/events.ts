// Written by clarim's Types::write from the application's types: change those instead.

/**
 * A conversation, as one of its members sees it.
 */
export type Conversation = { id: number, title: string, members: Array<User>, 
/**
 * The number of its last message; 0 if there is none.
 */
last_seq: number, 
/**
 * Up to here this user has read.
 */
read_seq: number, last_message: Message | null, };

/**
 * Heard by the other pages of the same user, whose counters go down.
 */
export type ConversationRead = { conversation: number, seq: number, };

/**
 * A document, as it is listed.
 */
export type Document = { id: number, title: string, 
/**
 * Milliseconds since 1970; 0: never.
 */
edited_at: number, };

/**
 * Heard by everybody who may open it.
 */
export type DocumentCreated = { document: Document, };

/**
 * What a page does not have.
 */
export type DocumentState = { 
/**
 * As base64, as the next.
 */
update: string, 
/**
 * How much the application has: a state vector. What is not in it the page sends.
 */
state: string, 
/**
 * The number of the last update in it.
 */
seq: number, };

/**
 * Heard by those who have the document open.
 */
export type DocumentUpdated = { 
/**
 * 1 for the first of the document, 2 for the next, and so on.
 */
seq: number, 
/**
 * As base64. Nothing: it is too long for an event, ask for it.
 */
update: string | null, };

/**
 * Somebody sent one by hand, to see it arrive.
 */
export type Greeting = { from: string, text: string, };

/**
 * Above it a user wants to be told.
 */
export type Limit = { metric: Metric, above: number, };

/**
 * A value is above the limit that this user has set.
 */
export type LimitCrossed = { metric: Metric, value: number, above: number, };

/**
 * Somebody wrote `@login` in a conversation.
 */
export type Mentioned = { from: string, conversation: number, text: string, };

/**
 * Somebody wrote something.
 */
export type Message = { 
/**
 * Made by the page on which it was written.
 */
id: string, conversation: number, 
/**
 * 1 for the first of the conversation, 2 for the next, and so on.
 */
seq: number, author: number, body: string, 
/**
 * Milliseconds since 1970.
 */
sent_at: number, };

/**
 * Messages of a conversation, oldest first.
 */
export type MessagePage = { messages: Array<Message>, 
/**
 * Whether there are more in the direction that was asked for.
 */
has_more: boolean, };

/**
 * Heard by the members of the conversation.
 */
export type MessageSent = { message: Message, };

/**
 * What a limit can be set for.
 */
export type Metric = "cpu" | "memory" | "connections" | "activity";

/**
 * What was measured, oldest first.
 */
export type MetricsPage = { samples: Array<Sample>, 
/**
 * Seconds from one to the next.
 */
every: number, };

/**
 * Heard by every page that shows the metrics.
 */
export type MetricsUpdated = { sample: Sample, };

/**
 * Heard by the other pages of the same user.
 */
export type NotificationsRead = { 
/**
 * Nothing: all of them.
 */
ids: Array<string> | null, };

/**
 * How the application is at one moment.
 */
export type Sample = { 
/**
 * When it was measured, by the clock of the application: milliseconds since 1970.
 */
at: number, 
/**
 * Of all processors of the machine, in percent.
 */
cpu: number, 
/**
 * Of the process, in MiB.
 */
memory: number, 
/**
 * Open connections of pages. Nothing: the server is another process.
 */
connections: number | null, 
/**
 * Messages and edits, each minute.
 */
activity: number, };

export type ServerAddress = { host: string, port: number, scheme: 'http' | 'https', };

/**
 * The time of the application, by which pages know how far their own clocks are off.
 */
export type ServerTime = { 
/**
 * Milliseconds since 1970.
 */
now: number, };

/**
 * What a page needs to know first.
 */
export type SessionInfo = { 
/**
 * To be sent as `X-CSRF-TOKEN` with everything that changes something.
 */
csrf: string, user: User | null, 
/**
 * The app's key at the Clarim server.
 */
key: string, 
/**
 * The Clarim server, if it isn't where the page is from.
 */
server: ServerAddress | null, 
/**
 * Who can log in here. An application of yours would not tell.
 */
people: Array<User>, };

/**
 * An update was stored.
 */
export type UpdateStored = { seq: number, };

/**
 * Who makes a request; as an extractor, it refuses guests.
 */
export type User = { id: number, login: string, name: string, };

/** What is broadcast: the event's name as Echo's `listen` takes it, and what the callback gets. */
export interface Events {
  "ConversationRead": ConversationRead;
  "DocumentCreated": DocumentCreated;
  "DocumentUpdated": DocumentUpdated;
  "MessageSent": MessageSent;
  "MetricsUpdated": MetricsUpdated;
  "NotificationsRead": NotificationsRead;
}

/** What the callback of Echo's `notification` gets, by its `type`. */
export interface Notifications {
  "App\\Notifications\\Greeting": Greeting & { id: string, type: "App\\Notifications\\Greeting" };
  "App\\Notifications\\LimitCrossed": LimitCrossed & { id: string, type: "App\\Notifications\\LimitCrossed" };
  "App\\Notifications\\Mentioned": Mentioned & { id: string, type: "App\\Notifications\\Mentioned" };
}
