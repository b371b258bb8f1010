export { pageId, pagePaths } from './page.js';
export type { PagePaths } from './page.js';
export { recover } from './recovery.js';
export type { Client, EchoClient, Recovery, RecoveryOptions } from './recovery.js';
export type { Gap, GapReason, Position } from './position.js';
