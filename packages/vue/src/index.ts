// `export *`, because module augmentation of the interface works only with it.
export * from './events.js';

export { ClarimVue, createEcho, useEcho } from './echo.js';
export type {
	AnyEcho, ClarimVueOptions, EncryptedChannel, PresenceChannel, PrivateChannel, PublicChannel, PusherEcho,
	ServerAddress,
} from './echo.js';
export { useChannel, useEncryptedChannel, usePrivateChannel } from './channel.js';
export type { ChannelName, ChannelRef } from './channel.js';
export { useWebSocketStatus } from './connection.js';
export type { ConnectionState } from './connection.js';
export { useModel } from './model.js';
export type { ModelEvent, ModelOptions } from './model.js';
export { useNotifications } from './notifications.js';
export type { Notification, NotificationOptions } from './notifications.js';
export { usePresenceChannel } from './presence.js';
export type { AnyMember, PresenceHandlers } from './presence.js';
export { useSubscription } from './subscription.js';
export type { Gap, SubscriptionError } from './subscription.js';
export { useUser } from './user.js';
export type { SignedInUser, UserOptions } from './user.js';
export { useWhisper } from './whisper.js';
export type { WhisperOptions } from './whisper.js';
