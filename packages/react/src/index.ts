// `export *`, because module augmentation of the interface works only with it.
export * from './events.js';

export type { AuthorizationOptions, BatchOptions, Gap, GapReason, Position } from '@clarim/js';
export { createEcho } from '@clarim/js/echo';
export type {
	AnyEcho, ConnectionState, EchoSourceOptions, EncryptedChannel, Interruption, ModelEvent, ModelOptions, Notification,
	NotificationOptions, NotificationPage, NotificationRow, NotificationState, PresenceChannel, PrivateChannel,
	PublicChannel, PusherEcho, RequestHooks, ServerAddress, SignedInUser, StoredNotifications, SubscriptionError,
	SubscriptionState, UserState, WhisperOptions,
} from '@clarim/js/echo';
export { useChannel, useEncryptedChannel, usePrivateChannel } from './hooks/channel.js';
export type { ChannelName, ChannelOptions } from './hooks/channel.js';
export { useWebSocketStatus } from './hooks/connection.js';
export { useModel } from './hooks/model.js';
export { useNotifications } from './hooks/notifications.js';
export type { NotificationActions } from './hooks/notifications.js';
export { usePresenceChannel } from './hooks/presence.js';
export type { AnyMember, PresenceHandlers } from './hooks/presence.js';
export { useSubscription } from './hooks/subscription.js';
export { useUser } from './hooks/user.js';
export type { UserOptions } from './hooks/user.js';
export { useWhisper } from './hooks/whisper.js';
export { ClarimProvider, useEcho } from './provider.js';
export type { ClarimProviderProps } from './provider.js';
