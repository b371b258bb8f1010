// The user's conversations and messages, shared by all pages, so that counters and lists can't differ.

import { computed, reactive, ref } from 'vue';
import type { Conversation, ConversationMember, Message, MessagePage } from '../events';
import { api, ApiError, me } from '../session';
import { session as tab } from '../storage';

/** Maximum length of a message, as in the backend. */
export const MAX_BODY = 2000;

/** A message that the backend has not confirmed. */
export interface Draft {
	id: string;
	conversation: number;
	body: string;
	at: number;
	/** `refused`: rejected by the backend, so an automatic retry would not help. `sent`: it is stored, and shown
	 * as a draft until it has its place among the messages. */
	state: 'waiting' | 'refused' | 'sent';
}

export interface Thread extends Conversation {
	/** Sorted by number without gaps, from the oldest loaded to the newest. */
	messages: Message[];
	drafts: Draft[];
	/** What the user is writing. */
	text: string;
	isLoaded: boolean;
	hasOlder: boolean;
	isBusy: boolean;
	error: unknown;
}

const threads = reactive(new Map<number, Thread>());
const isLoaded = ref(false);
const error = ref<unknown>(null);

export const conversations = {
	isLoaded,
	error,
	/** Sorted by newest message first. */
	list: computed(() => [...threads.values()].sort((a, b) => newest(b) - newest(a) || a.id - b.id)),
	unread: computed(() => [...threads.values()].reduce((sum, thread) => sum + unreadOf(thread), 0)),
	ids: computed(() => [...threads.keys()]),
	get: (id: number): Thread | undefined => threads.get(id),
};

const newest = (thread: Thread): number => thread.drafts.at(-1)?.at ?? thread.last_message?.sent_at ?? 0;

export const unreadOf = (thread: Conversation): number => Math.max(0, thread.last_seq - thread.read_seq);

export function memberOf(thread: Conversation, id: number): ConversationMember | undefined {
	return thread.members.find((member) => member.id === id);
}

/** Returns the title. A conversation of two has the other user's name. */
export function titleOf(thread: Conversation): string {
	const others = thread.members.filter(({ id }) => id !== me().id);
	return thread.members.length === 2 && others[0] ? others[0].name : thread.title;
}

/** Runs the task, and once more if it was requested again during the run, because the response may be outdated. */
function upToDate(work: () => Promise<void>): () => Promise<void> {
	let running: Promise<void> | undefined;
	let isAskedAgain = false;
	const run = async (): Promise<void> => {
		try {
			do {
				isAskedAgain = false;
				await work();
			} while (isAskedAgain);
		} finally {
			running = undefined;
		}
	};
	return () => {
		isAskedAgain = true;
		running ??= run();
		return running;
	};
}

/** Loads the conversations and their message counts. */
export const loadConversations = upToDate(askForConversations);

async function askForConversations(): Promise<void> {
	try {
		for (const found of await api<Conversation[]>('GET', '/api/conversations')) {
			const known = threads.get(found.id);
			if (known) {
				// The local state may be newer than the response.
				for (const { id, read_seq: seq } of found.members) markedRead(known.id, id, seq);
				if (found.last_message) {
					heard(known, found.last_message);
					changed(found.last_message);
				}
			} else {
				threads.set(found.id, {
					...found, messages: [], drafts: storedDrafts(found.id), text: tab.get(textKey(found.id)) ?? '', isLoaded: false, hasOlder: false, isBusy: false, error: null,
				});
			}
		}
		isLoaded.value = true;
		error.value = null;
	} catch (problem) {
		error.value = problem;
	}
}

/** Adds a pushed message, or the response to a sent one. */
export function receive(message: Message): void {
	const thread = threads.get(message.conversation);
	if (!thread) return;
	heard(thread, message);
	markedRead(thread.id, message.author, message.seq);
	const last = lastSeq(thread);
	if (thread.isLoaded && message.seq > last + 1) {
		// There is a gap: messages were missed or are still in flight.
		void catchUp(thread);
		return;
	}
	if (thread.isLoaded && message.seq === last + 1) thread.messages.push(latest(message));
	drop(thread, message.id);
}

/** A member has read up to this number. */
export function markedRead(id: number, user: number, seq: number): void {
	const thread = threads.get(id);
	if (!thread) return;
	const member = memberOf(thread, user);
	if (member) member.read_seq = Math.max(member.read_seq, seq);
	if (user === me().id) thread.read_seq = Math.max(thread.read_seq, seq);
}

/** The last change of each message that was changed while this page was open. */
const changes = reactive(new Map<string, Message>());

/** The text of a message, if it was changed while this page was open. */
export const changedText = (id: string): string | undefined => changes.get(id)?.body;

/** The newer of two states of a message. */
const newer = (known: Message | undefined, message: Message): Message => (known && known.version > message.version ? known : message);

/** The message, or its change if that came first. */
const latest = (message: Message): Message => newer(changes.get(message.id), message);

/** Takes a pushed change of a message, or the response to a request. */
export function changed(message: Message): void {
	if ((changes.get(message.id)?.version ?? -1) <= message.version) changes.set(message.id, message);
	const thread = threads.get(message.conversation);
	if (!thread) return;
	const at = thread.messages.findIndex(({ id }) => id === message.id);
	// A response may come after a push of a later change, or before it.
	if (at >= 0) thread.messages[at] = newer(thread.messages[at], latest(message));
	const last = thread.last_message;
	if (last?.id === message.id) thread.last_message = newer(last, latest(message));
}

/** Loads the changes of the local messages that were missed during an interruption. */
export async function refresh(thread: Thread): Promise<void> {
	try {
		for (let before = lastSeq(thread) + 1; before > (thread.messages[0]?.seq ?? before);) {
			const { messages } = await api<MessagePage>('GET', `${path(thread.id)}/messages?before=${before}`);
			messages.forEach(changed);
			before = messages[0]?.seq ?? 0;
		}
	} catch (problem) {
		thread.error = problem;
	}
}

function heard(thread: Thread, message: Message): void {
	if (message.seq <= thread.last_seq && thread.last_message) return;
	thread.last_seq = message.seq;
	thread.last_message = latest(message);
}

const path = (id: number): string => `/api/conversations/${id}`;

/** Loads the newest messages when a conversation is opened. */
export async function open(thread: Thread): Promise<void> {
	if (thread.isLoaded) return catchUp(thread);
	await busy(thread, async () => {
		const { messages, has_more: hasOlder } = await api<MessagePage>('GET', `${path(thread.id)}/messages`);
		Object.assign(thread, { messages: messages.map(latest), hasOlder, isLoaded: true });
		settle(thread);
	});
	// Messages that arrived during the request.
	if (thread.isLoaded) await catchUp(thread);
	void flush(thread);
}

/** Loads one more page of the history. */
export async function loadOlder(thread: Thread): Promise<void> {
	const first = thread.messages[0];
	if (!first || !thread.hasOlder) return;
	await busy(thread, async () => {
		const page = await api<MessagePage>('GET', `${path(thread.id)}/messages?before=${first.seq}`);
		thread.messages.unshift(...page.messages.map(latest));
		thread.hasOlder = page.has_more;
	});
}

const catchingUp = new Map<number, () => Promise<void>>();

/** Loads the messages after the last local one. */
export async function catchUp(thread: Thread): Promise<void> {
	if (!thread.isLoaded) return;
	const { id } = thread;
	if (!catchingUp.has(id)) catchingUp.set(id, upToDate(() => askForMissing(thread)));
	await catchingUp.get(id)?.();
}

async function askForMissing(thread: Thread): Promise<void> {
	try {
		for (let hasMore = true; hasMore;) {
			const after = lastSeq(thread);
			const page = await api<MessagePage>('GET', `${path(thread.id)}/messages?after=${after}`);
			// Some may have arrived over the channel in the meantime.
			const known = lastSeq(thread);
			thread.messages.push(...page.messages.filter(({ seq }) => seq > known).map(latest));
			settle(thread);
			hasMore = page.has_more;
		}
	} catch (problem) {
		thread.error = problem;
	}
}

const lastSeq = (thread: Thread): number => thread.messages.at(-1)?.seq ?? 0;

/** Removes drafts that have become messages. */
function settle(thread: Thread): void {
	const last = thread.messages.at(-1);
	if (last) heard(thread, last);
	const ids = new Set(thread.messages.map(({ id }) => id));
	for (const { id } of [...thread.drafts]) if (ids.has(id)) drop(thread, id);
	thread.error = null;
}

async function busy(thread: Thread, work: () => Promise<void>): Promise<void> {
	if (thread.isBusy) return;
	thread.isBusy = true;
	try {
		await work();
		thread.error = null;
	} catch (problem) {
		thread.error = problem;
	} finally {
		thread.isBusy = false;
	}
}

/** Marks all local messages as read. */
export async function markRead(thread: Thread): Promise<void> {
	const seq = thread.last_seq;
	if (seq <= thread.read_seq) return;
	markedRead(thread.id, me().id, seq);
	await api('POST', `${path(thread.id)}/read`, { seq }).catch(() => {
		// They stay unread in the backend, and become unread here with the next load.
	});
}

// --- Changes, which need the backend at once.

const messagePath = ({ conversation, id }: Message): string => `${path(conversation)}/messages/${id}`;

export async function react(message: Message, emoji: string, isOn: boolean): Promise<void> {
	changed(await api<Message>('PUT', `${messagePath(message)}/reactions`, { emoji, is_on: isOn }));
}

export async function edit(message: Message, body: string): Promise<void> {
	changed(await api<Message>('PUT', messagePath(message), { body }));
}

export async function remove(message: Message): Promise<void> {
	changed(await api<Message>('DELETE', messagePath(message)));
}

/** Creates a conversation with these users, and returns its id. `key` makes repeats the same conversation. */
export async function create(key: string, title: string, members: readonly number[]): Promise<number> {
	const id = await api<number>('POST', '/api/conversations', { key, title, members });
	await loadConversations();
	return id;
}

// --- Sending: a message is shown at once and sent until the backend has it. The page creates its id, so that the
// backend stores it once even if it is sent several times.

export function write(thread: Thread, body: string): void {
	thread.drafts.push({ id: crypto.randomUUID(), conversation: thread.id, body, at: Date.now(), state: 'waiting' });
	keep(thread);
	void flush(thread);
}

export function retry(thread: Thread, draft: Draft): void {
	draft.state = 'waiting';
	void flush(thread);
}

export function drop(thread: Thread, id: string): void {
	const before = thread.drafts.length;
	thread.drafts = thread.drafts.filter((draft) => draft.id !== id);
	if (thread.drafts.length !== before) keep(thread);
}

const flushing = new Set<number>();
/** Time before a retry, in ms. */
const PAUSE = 3000;

/** Sends waiting messages one after the other, to keep their order. */
export async function flush(thread: Thread): Promise<void> {
	if (flushing.has(thread.id)) return;
	flushing.add(thread.id);
	try {
		for (;;) {
			const draft = thread.drafts.find(({ state }) => state === 'waiting');
			if (!draft) return;
			const { id, body } = draft;
			const mark = (state: Draft['state']) => {
				const one = thread.drafts.find((each) => each.id === id);
				if (one) one.state = state;
			};
			try {
				const message = await api<Message>('POST', `${path(thread.id)}/messages`, { id, body });
				mark('sent');
				receive(message);
			} catch (problem) {
				const { status } = problem as ApiError;
				// The backend is unreachable or failing: retry later, at the latest after a reconnection.
				if (status === 0 || status >= 500) {
					setTimeout(() => void flush(thread), PAUSE);
					return;
				}
				mark('refused');
			}
		}
	} finally {
		flushing.delete(thread.id);
	}
}

// Unsent messages survive a reload of the page, and so does what is being written.
const textKey = (id: number): string => `text.${me().id}.${id}`;

export function keepText({ id, text }: Thread): void {
	tab.set(textKey(id), text || null);
}

const key = (id: number): string => `drafts.${me().id}.${id}`;

function keep({ id, drafts }: Thread): void {
	tab.set(key(id), drafts.length ? JSON.stringify(drafts) : null);
}

function storedDrafts(id: number): Draft[] {
	const drafts = JSON.parse(tab.get(key(id)) ?? '[]') as Draft[];
	// Sending them again shows whether they were stored.
	return drafts.map((draft) => ({ ...draft, state: 'waiting' }));
}
