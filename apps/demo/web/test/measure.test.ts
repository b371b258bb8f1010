// Clock offset, and the cost of push and polling.

import { expect, test } from 'vitest';
import { compareClocks } from '../src/dashboard/clock';
import { frameOf, frameSize, Tally } from '../src/dashboard/tally';

test('the clock offset is within its error, by the shortest round trip', async () => {
	let here = 1_000_000;
	const trips = [[80, 20], [3, 5], [200, 1]];
	const ahead = 12_345;
	const clock = await compareClocks(3, async () => {
		const [there, back] = trips.shift()!;
		here += there!;
		const now = Math.floor(here + ahead);
		here += back!;
		return { now };
	}, () => here);
	expect(clock.error).toBe(4.5);
	expect(Math.abs(clock.offset - ahead)).toBeLessThanOrEqual(clock.error);
	expect(clock.count).toBe(3);
});

test('a tally counts only its active time', () => {
	const tally = new Tally();
	tally.start(1000);
	tally.start(2000);
	tally.stop(4000);
	tally.stop(5000);
	expect(tally.time(9000)).toBe(3000);
	tally.start(10_000);
	expect(tally.time(11_000)).toBe(4000);
	expect(tally.perMinute(2, 11_000), 'only after a minute').toBeNull();
	expect(tally.perMinute(2, 127_000)).toBe(1);
	expect(new Tally().perMinute(2, 11_000)).toBeNull();
});

test('median', () => {
	const tally = new Tally();
	expect([tally.median, tally.worst]).toEqual([null, null]);
	tally.delays.push(30, 10, 500);
	expect([tally.median, tally.worst]).toEqual([30, 500]);
	tally.delays.push(20);
	expect(tally.median).toBe(25);
});

test('frame sizes match the wire', () => {
	const message = { event: 'A', channel: 'private-b', data: { text: 'é' } };
	const frame = '{"event":"A","data":"{\\"text\\":\\"é\\"}","channel":"private-b"}';
	expect(frameOf(message)).toBe(frame);
	expect(frameSize(frame)).toBe(frame.length + 1 + 2);
	expect(frameSize('x'.repeat(126))).toBe(130);
	expect(frameSize('x'.repeat(70_000))).toBe(70_010);
});
