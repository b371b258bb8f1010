// Document synchronization with an in-memory backend whose network can be cut.

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Awareness } from 'y-protocols/awareness';
import * as Y from 'yjs';
import { decode, encode } from '../src/editor/base64';
import { Cursors, type Whispered } from '../src/editor/cursors';
import { DocumentSync, type Shelf, type SyncStatus } from '../src/editor/sync';
import type { DocumentUpdated } from '../src/events';

class Refused extends Error {
	constructor(readonly code: string) {
		super(code);
	}
}

/** A minimal version of the application. */
class Application {
	doc = new Y.Doc({ gc: false });
	seq = 0;
	saved = 0;
	syncs = 0;
	pages = new Set<Page>();

	save(from: Page, update: string): { seq: number } {
		Y.applyUpdate(this.doc, decode(update));
		if (this.doc.store.pendingStructs) {
			this.doc.store.pendingStructs = null;
			throw new Refused('incomplete');
		}
		this.saved += 1;
		this.seq += 1;
		for (const page of this.pages) if (page !== from) page.hear({ seq: this.seq, update });
		return { seq: this.seq };
	}
}

class Page {
	isCut = false;
	isDeaf = false;
	losesAnswers = false;
	stored: string | null = null;
	status!: SyncStatus;
	sync!: DocumentSync;
	doc!: Y.Doc;

	constructor(readonly application: Application) {
		application.pages.add(this);
		this.load();
	}

	/** Opens or reopens the page. */
	load(): void {
		this.doc = new Y.Doc();
		const shelf: Shelf = { get: () => this.stored, set: (update) => { this.stored = update; } };
		const { application } = this;
		this.sync = new DocumentSync(this.doc, {
			sync: (state) => this.#request(() => ({
				update: encode(Y.encodeStateAsUpdate(application.doc, decode(state))),
				state: encode(Y.encodeStateVector(application.doc)),
				seq: application.seq,
			}), () => { application.syncs += 1; }),
			save: (update) => this.#request(() => application.save(this, update)),
			isTemporary: (error) => !(error instanceof Refused),
			isIncomplete: (error) => error instanceof Refused && error.code === 'incomplete',
		}, shelf, (status) => { this.status = status; });
		void this.sync.exchange();
	}

	async #request<T>(answer: () => T, count = () => {}): Promise<T> {
		await new Promise((resolve) => { setTimeout(resolve, 20); });
		if (this.isCut) throw new Error('offline');
		count();
		const answered = answer();
		if (this.losesAnswers) throw new Error('offline');
		return answered;
	}

	hear(event: DocumentUpdated): void {
		if (!this.isCut && !this.isDeaf) setTimeout(() => this.sync.receive(event), 10);
	}

	get text(): Y.Text {
		return this.doc.getText('text');
	}

	write(words: string): void {
		this.text.insert(this.text.length, words);
	}
}

let application: Application;

beforeEach(() => {
	vi.useFakeTimers();
	application = new Application();
});

afterEach(() => {
	for (const page of application.pages) page.sync.stop();
	vi.useRealTimers();
});

const pass = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds);
const texts = () => [...application.pages].map(({ text }) => text.toString());

async function pages(count: number): Promise<Page[]> {
	const all = Array.from({ length: count }, () => new Page(application));
	await pass(100);
	for (const page of all) expect(page.status).toEqual({ isLoaded: true, isUnsaved: false, error: null });
	return all;
}

test('the others receive edits, and quick edits are batched', async () => {
	const [ana] = await pages(2);
	for (const letter of 'Bom dia') ana!.write(letter);
	expect(ana!.status.isUnsaved).toBe(true);
	await pass(300);
	expect(texts()).toEqual(['Bom dia', 'Bom dia']);
	expect(application.saved).toBe(1);
	expect(ana!.status.isUnsaved).toBe(false);
	expect(application.syncs).toBe(2);
});

test('continuous typing is sent before it ends', async () => {
	const [ana, bruno] = await pages(2);
	for (let n = 0; n < 40; n += 1) {
		ana!.write('a');
		await pass(50);
	}
	expect(bruno!.text.length).toBeGreaterThan(30);
});

test('concurrent edits of three users converge without losses', async () => {
	const all = await pages(3);
	for (let round = 0; round < 20; round += 1) {
		for (const [i, page] of all.entries()) page.write(`${i}`);
		await pass(37);
	}
	await pass(2000);
	const [first] = texts();
	for (const text of texts()) expect(text).toBe(first);
	expect([...first!].sort().join('')).toBe('0'.repeat(20) + '1'.repeat(20) + '2'.repeat(20));
	expect(application.doc.getText('text').toString()).toBe(first);
});

test('offline edits and deletions are exchanged after the reconnection', async () => {
	const [ana, bruno] = await pages(2);
	ana!.write('um dois três');
	await pass(300);
	bruno!.isCut = true;
	bruno!.text.delete(0, 3);
	bruno!.write(' quatro');
	ana!.write(' cinco');
	await pass(5000);
	expect(bruno!.status.isUnsaved).toBe(true);
	expect(bruno!.status.error).toBeInstanceOf(Error);
	expect(ana!.text.toString()).toBe('um dois três cinco');
	bruno!.isCut = false;
	void bruno!.sync.exchange();
	await pass(500);
	const [first] = texts();
	expect(texts()[1]).toBe(first);
	expect(first).toMatch(/^dois três/);
	expect(first).toContain(' quatro');
	expect(first).toContain(' cinco');
	expect(bruno!.status).toEqual({ isLoaded: true, isUnsaved: false, error: null });
});

test('a deletion alone is sent too', async () => {
	const [ana, bruno] = await pages(2);
	ana!.write('apagar');
	await pass(300);
	bruno!.isCut = true;
	bruno!.text.delete(0, 6);
	await pass(1000);
	bruno!.isCut = false;
	await pass(3000);
	expect(texts()).toEqual(['', '']);
	expect(application.doc.getText('text').toString()).toBe('');
});

test('a missing update is requested', async () => {
	const [ana, bruno] = await pages(2);
	bruno!.isDeaf = true;
	ana!.write('não ouvido ');
	await pass(300);
	bruno!.isDeaf = false;
	const before = application.syncs;
	ana!.write('ouvido');
	await pass(300);
	await pass(2000);
	expect(bruno!.text.toString()).toBe('não ouvido ouvido');
	expect(application.syncs).toBe(before + 1);
	// It is requested only once.
	await pass(10_000);
	expect(application.syncs).toBe(before + 1);
});

test('an update that is too long for an event is requested', async () => {
	const [ana, bruno] = await pages(2);
	ana!.isDeaf = true;
	Y.applyUpdate(application.doc, (() => {
		const other = new Y.Doc();
		other.getText('text').insert(0, 'longo');
		return Y.encodeStateAsUpdate(other);
	})());
	application.seq = 1;
	bruno!.sync.receive({ seq: 1, update: null });
	await pass(100);
	expect(bruno!.text.toString()).toBe('longo');
	const { syncs } = application;
	bruno!.sync.receive({ seq: 1, update: null });
	await pass(100);
	expect(application.syncs).toBe(syncs);
});

test('an edit with a lost response is sent again and applied once', async () => {
	const [ana] = await pages(2);
	ana!.losesAnswers = true;
	ana!.write('uma vez');
	await pass(500);
	expect(ana!.status.isUnsaved).toBe(true);
	ana!.losesAnswers = false;
	await pass(3000);
	expect(texts()).toEqual(['uma vez', 'uma vez']);
	expect(ana!.status.isUnsaved).toBe(false);
	expect(ana!.stored).toBeNull();
});

test('unsent edits survive a reload', async () => {
	const [ana] = await pages(2);
	ana!.write('antes ');
	await pass(300);
	ana!.isCut = true;
	ana!.write('guardado');
	await pass(1000);
	ana!.sync.stop();
	ana!.isCut = false;
	ana!.load();
	await pass(500);
	expect(texts()).toEqual(['antes guardado', 'antes guardado']);
	expect(ana!.stored).toBeNull();
});

test('the last keys are kept and sent when the page is left, with or without storage', async () => {
	const [ana, bruno] = await pages(2);
	ana!.write('até o ');
	await pass(300);
	ana!.write('fim');
	ana!.sync.leave();
	expect(ana!.stored).not.toBeNull();
	// The page is gone, its request is not.
	ana!.sync.stop();
	await pass(100);
	expect(bruno!.text.toString()).toBe('até o fim');
	ana!.load();
	await pass(500);
	expect(texts()).toEqual(['até o fim', 'até o fim']);
});

test('a backend that lost its data gets everything again', async () => {
	const [ana] = await pages(1);
	ana!.write('primeiro');
	await pass(300);
	application.doc = new Y.Doc();
	ana!.write(' segundo');
	await pass(1000);
	expect(application.doc.getText('text').toString()).toBe('primeiro segundo');
});

test('edits are sent although the storage is full or forbidden', async () => {
	const [ana, bruno] = await pages(2);
	Object.defineProperty(ana, 'stored', {
		get: () => { throw new DOMException('forbidden', 'SecurityError'); },
		set: () => { throw new DOMException('full', 'QuotaExceededError'); },
	});
	ana!.write('chega');
	await pass(500);
	expect(texts()).toEqual(['chega', 'chega']);
	expect(ana!.status).toEqual({ isLoaded: true, isUnsaved: false, error: null });
	ana!.sync.stop();
	ana!.load();
	await pass(500);
	expect(ana!.text.toString()).toBe('chega');
	expect(bruno!.status.error).toBeNull();
});

test('an edit in the storage that is none is ignored', async () => {
	const [ana] = await pages(1);
	ana!.sync.stop();
	for (const stored of ['?', 'AAEC']) {
		ana!.stored = stored;
		ana!.load();
		await pass(500);
		expect(ana!.status.isLoaded).toBe(true);
		ana!.sync.stop();
	}
});

test('after the backend was restored from a backup its numbers count', async () => {
	const [ana] = await pages(1);
	application.seq = 50;
	void ana!.sync.exchange();
	await pass(500);
	application.seq = 3;
	void ana!.sync.exchange();
	await pass(500);
	application.doc.getText('text').insert(0, 'LONG');
	application.seq = 4;
	ana!.sync.receive({ seq: 4, update: null });
	await pass(500);
	expect(ana!.text.toString()).toBe('LONG');
});

test('a rejected edit is not retried forever', async () => {
	const [ana] = await pages(1);
	vi.spyOn(application, 'save').mockImplementation(() => { throw new Refused('too_long'); });
	ana!.write('demais');
	await pass(20_000);
	expect(application.save).toHaveBeenCalledTimes(1);
	expect(ana!.status.error).toBeInstanceOf(Refused);
	expect(ana!.status.isUnsaved).toBe(true);
});

test('cursors are shown with the name that the server reports', () => {
	const heard: Whispered[] = [];
	const [hers, his] = [new Awareness(new Y.Doc()), new Awareness(new Y.Doc())];
	const ana = new Cursors(hers, () => {});
	const bruno = new Cursors(his, (whispered) => heard.push(whispered));
	his.setLocalState({ cursor: { anchor: 1 }, user: { name: 'Carla' } });
	ana.hear(heard.at(-1)!, { id: 2, login: 'bruno', name: 'Bruno' });
	expect(hers.getStates().get(his.clientID)).toEqual({
		cursor: { anchor: 1 }, user: { name: 'Bruno', color: '#000000', look: 2 },
	});
	// Ignores whispers of unknown members and invalid payloads.
	ana.hear({ update: heard[0]!.update }, undefined);
	ana.hear({ update: '!!!' }, { id: 2, login: 'bruno', name: 'Bruno' });
	ana.hear({ update: 7 } as unknown as Whispered, { id: 2, login: 'bruno', name: 'Bruno' });
	ana.drop({ id: 2, login: 'bruno', name: 'Bruno' });
	expect(hers.getStates().has(his.clientID)).toBe(false);
	for (const one of [hers, his]) one.destroy();
	expect(bruno.own().update).toBeTypeOf('string');
});

test('base64 round trip', () => {
	const bytes = Uint8Array.from({ length: 100_000 }, (_, i) => (i * 7) % 256);
	expect(decode(encode(bytes))).toEqual(bytes);
});
