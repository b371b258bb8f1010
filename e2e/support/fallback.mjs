// The requests of a page without WebSockets.
import assert from 'node:assert/strict';
import { inbox } from './events.mjs';

/** Opens a streaming session at this address and reads its greeting. Returns the following lines. */
export async function openSession(session) {
  const answer = await fetch(`${session}/xhr_streaming?protocol=7&n=1`, { method: 'POST' });
  const lines = inbox();
  (async () => {
    for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) chunk.trim().split('\n').forEach(lines);
  })().catch(() => undefined);
  assert.equal(await lines.take(), 'o');
  assert.match(await lines.take(), /connection_established/);
  return lines;
}

/** Subscribes to a channel, with a second request next to the stream. */
export async function subscribeSession(session, channel) {
  const body = JSON.stringify([JSON.stringify({ event: 'pusher:subscribe', data: { channel } })]);
  assert.equal((await fetch(`${session}/xhr_send?n=2`, { method: 'POST', body })).status, 204);
}
