// A page without WebSockets, request by request.
import assert from 'node:assert/strict';
import { inbox } from './events.mjs';

/** Opens the session at this address by a stream; its greeting has been read. What it gives are the lines to come. */
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

/** Subscribes to a channel: the request behind the stream's. */
export async function subscribeSession(session, channel) {
  const body = JSON.stringify([JSON.stringify({ event: 'pusher:subscribe', data: { channel } })]);
  assert.equal((await fetch(`${session}/xhr_send?n=2`, { method: 'POST', body })).status, 204);
}
