// The parts of @clarim/vue and @clarim/react that know no framework.

export { hold } from './channel/lease.js';
export type { ChannelKind, ChannelKinds, Lease } from './channel/lease.js';
export { ModelRecord } from './channel/model.js';
export type { ModelEvent, ModelId, ModelOptions } from './channel/model.js';
export { followMembers } from './channel/presence.js';
export type { MemberCallbacks } from './channel/presence.js';
export { followSubscription, subscriptionState } from './channel/subscription.js';
export type { Interruption, SubscriptionError, SubscriptionState } from './channel/subscription.js';
export { Whispers } from './channel/whisper.js';
export type { WhisperOptions } from './channel/whisper.js';
export { createEcho, defaultSource, EchoSource, isBrowser } from './echo.js';
export type {
	AnyEcho, ConnectionState, EchoSourceOptions, EncryptedChannel, PresenceChannel, PrivateChannel, PublicChannel,
	PusherEcho, ServerAddress,
} from './echo.js';
export { all, bind, listen, listenToEach, listenToGaps } from './listeners.js';
export type { Unbind } from './listeners.js';
export type { Notification, NotificationPage, NotificationRow, StoredNotifications } from './notifications/row.js';
export { holdStore, NO_NOTIFICATIONS } from './notifications/store.js';
export type {
	NotificationOptions, NotificationSource, NotificationState, NotificationStore,
} from './notifications/store.js';
export type { RequestHooks } from './requests.js';
export { Store } from './store.js';
export type { Readable } from './store.js';
export { listenToUser, UserSession, wantedUser } from './user.js';
export type { SignedInUser, UserState, WantedUser, WatchlistCallbacks } from './user.js';
