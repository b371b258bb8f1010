// `export *`, because module augmentation of the interface works only with it.
export * from './events.js';

export type { AuthorizationOptions, BatchOptions, Gap, GapReason, Position } from '@clarim/js';
export { createEcho } from '@clarim/js/echo';
export type {
	AnyEcho, ConnectionState, EncryptedChannel, Interruption, ModelEvent, ModelOptions, Notification,
	NotificationOptions, NotificationPage, NotificationRow, PresenceChannel, PrivateChannel, PublicChannel, PusherEcho,
	RequestHooks, ServerAddress, SignedInUser, StoredNotifications, SubscriptionError, WhisperOptions,
} from '@clarim/js/echo';
export { ClarimVue, useEcho } from './echo.js';
export type { ClarimVueOptions } from './echo.js';
export { useChannel, useEncryptedChannel, usePrivateChannel } from './composables/channel.js';
export type { ChannelName, ChannelOptions, ChannelRef } from './composables/channel.js';
export { useWebSocketStatus } from './composables/connection.js';
export { useModel } from './composables/model.js';
export { useNotifications } from './composables/notifications.js';
export { usePresenceChannel } from './composables/presence.js';
export type { AnyMember, PresenceHandlers } from './composables/presence.js';
export { useSubscription } from './composables/subscription.js';
export { useUser } from './composables/user.js';
export type { UserOptions } from './composables/user.js';
export { useWhisper } from './composables/whisper.js';
