export { authorize } from './authorization.js';
export type { Authorization, AuthorizationOptions } from './authorization.js';
export type { BatchOptions } from './batch.js';
export type { Client, EchoClient } from './client.js';
export { pageId, pagePaths } from './page.js';
export type { PagePaths } from './page.js';
export { recover } from './recovery.js';
export type { Recovery, RecoveryOptions } from './recovery.js';
export type { Gap, GapReason, Position } from './position.js';
