// `export *`, because module augmentation of the interface works only with it.
export * from './events.js';

export type { AuthorizationOptions, BatchOptions, Gap, GapReason, Position } from '@clarim/js';
export { ClarimVue, createEcho, useEcho } from './echo.js';
export type {
	AnyEcho, ClarimVueOptions, EncryptedChannel, PresenceChannel, PrivateChannel, PublicChannel, PusherEcho,
	ServerAddress,
} from './echo.js';
export { useChannel, useEncryptedChannel, usePrivateChannel } from './composables/channel.js';
export type { ChannelName, ChannelOptions, ChannelRef } from './composables/channel.js';
export { useWebSocketStatus } from './composables/connection.js';
export type { ConnectionState } from './composables/connection.js';
export { useModel } from './composables/model.js';
export type { ModelEvent, ModelOptions } from './composables/model.js';
export { useNotifications } from './composables/notifications.js';
export type { NotificationOptions } from './composables/notifications.js';
export type {
	Notification, NotificationPage, NotificationRow, StoredNotifications,
} from './notifications/row.js';
export { usePresenceChannel } from './composables/presence.js';
export type { AnyMember, PresenceHandlers } from './composables/presence.js';
export { useSubscription } from './composables/subscription.js';
export type { Interruption, SubscriptionError } from './composables/subscription.js';
export { useUser } from './composables/user.js';
export type { SignedInUser, UserOptions } from './composables/user.js';
export { useWhisper } from './composables/whisper.js';
export type { WhisperOptions } from './composables/whisper.js';
