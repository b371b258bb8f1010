// Written by clarim's Types::write from the application's types: change those instead.

/**
 * A conversation, as one of its members sees it.
 */
export type Conversation = { id: number, title: string, members: Array<User>, 
/**
 * Sequence number of its last message. 0 if there is none.
 */
last_seq: number, 
/**
 * Sequence number up to which this user has read.
 */
read_seq: number, last_message: Message | null, };

/**
 * The user has read a conversation on another page, whose unread counters change.
 */
export type ConversationRead = { conversation: number, seq: number, };

/**
 * A document in a list.
 */
export type Document = { id: number, title: string, 
/**
 * Milliseconds since 1970. 0: never.
 */
edited_at: number, };

/**
 * A new document, for all users.
 */
export type DocumentCreated = { document: Document, };

/**
 * The changes that a page does not have.
 */
export type DocumentState = { 
/**
 * The changes, as base64.
 */
update: string, 
/**
 * The application's state vector, as base64. The page sends its changes since then.
 */
state: string, 
/**
 * Sequence number of the last update in it.
 */
seq: number, };

/**
 * An update, for pages with the document open.
 */
export type DocumentUpdated = { 
/**
 * Sequence number in the document, from 1.
 */
seq: number, 
/**
 * As base64. `null` if it is too long for an event: fetch it with a sync.
 */
update: string | null, };

/**
 * A greeting from another user.
 */
export type Greeting = { from: string, text: string, };

/**
 * A limit above which a user is notified.
 */
export type Limit = { metric: Metric, above: number, };

/**
 * A value has exceeded the limit that this user has set.
 */
export type LimitCrossed = { metric: Metric, value: number, above: number, };

/**
 * A message of a conversation mentions the user with `@login`.
 */
export type Mentioned = { from: string, conversation: number, text: string, };

/**
 * A message of a conversation.
 */
export type Message = { 
/**
 * UUID that the sending page has made.
 */
id: string, conversation: number, 
/**
 * Sequence number in the conversation, from 1.
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
 * Whether there are more messages in the requested direction.
 */
has_more: boolean, };

/**
 * A new message, for the members of the conversation.
 */
export type MessageSent = { message: Message, };

/**
 * A metric that can have a limit.
 */
export type Metric = "cpu" | "memory" | "connections" | "activity";

/**
 * Samples, oldest first.
 */
export type MetricsPage = { samples: Array<Sample>, 
/**
 * Seconds between two samples.
 */
every: number, };

/**
 * New metrics, for every page that shows them.
 */
export type MetricsUpdated = { sample: Sample, };

/**
 * The user has read notifications on another page.
 */
export type NotificationsRead = { 
/**
 * `null`: all notifications.
 */
ids: Array<string> | null, };

/**
 * The metrics at one time.
 */
export type Sample = { 
/**
 * Time of the measurement, in milliseconds since 1970.
 */
at: number, 
/**
 * CPU usage of the machine, in percent.
 */
cpu: number, 
/**
 * Memory of the process, in MiB.
 */
memory: number, 
/**
 * Open connections. `null` if the server is another process.
 */
connections: number | null, 
/**
 * Messages and edits per minute.
 */
activity: number, };

export type ServerAddress = { host: string, port: number, scheme: 'http' | 'https', };

/**
 * The application's time, by which pages correct their own clocks.
 */
export type ServerTime = { 
/**
 * Milliseconds since 1970.
 */
now: number, };

/**
 * What a page needs to know at its start.
 */
export type SessionInfo = { 
/**
 * Token that requests other than GET send as `X-CSRF-TOKEN`.
 */
csrf: string, user: User | null, 
/**
 * Key of the app at the Clarim server.
 */
key: string, 
/**
 * The Clarim server, if its address is not the page's own.
 */
server: ServerAddress | null, 
/**
 * The demo users. A real application would not list them.
 */
people: Array<User>, };

/**
 * The response to a stored update.
 */
export type UpdateStored = { seq: number, };

/**
 * The logged-in user. As an extractor, it rejects guests.
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
