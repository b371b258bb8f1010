// permessage-deflate with Node's ws, next to clients without it. Chromium is in browser/deflate.test.mjs.
import assert from 'node:assert/strict';
import { once as emitted } from 'node:events';
import { after, before, describe, test } from 'node:test';
import WebSocket from 'ws';
import { inbox } from './support/events.mjs';
import { sdkFor } from './support/clients.mjs';
import { app, startServer } from './support/server.mjs';

const limit = { timeout: 300_000 };

/** A subscriber that collects its events and counts the received bytes. */
async function subscriber(port, channel, options) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/app/${app.key}?protocol=7`, options);
  const heard = inbox();
  const ready = inbox();
  socket.on('message', (text) => {
    const message = JSON.parse(text);
    (message.event.startsWith('pusher') ? ready : heard)(message);
  });
  await emitted(socket, 'open');
  await ready.take();
  socket.send(JSON.stringify({ event: 'pusher:subscribe', data: { channel } }));
  assert.equal((await ready.take()).event, 'pusher_internal:subscription_succeeded');
  return { socket, heard, bytes: () => socket._socket.bytesRead };
}

const rows = (count) => Array.from({ length: count }, (_, n) => ({ id: n * 37, user: `user-${n}`, text: 'olá' }));

describe('ws with permessage-deflate', () => {
  let server;
  before(async () => { server = await startServer({ env: { CLARIM_COMPRESSION: 'true' } }); });
  after(() => server.dispose());

  test('receives the same events as clients without it, in fewer bytes', limit, async () => {
    const offers = [
      true,
      false,
      { clientMaxWindowBits: 10 },
      { serverNoContextTakeover: true, clientNoContextTakeover: true },
      // Declined, since the frame that all clients share needs a window of 15 bits.
      { serverMaxWindowBits: 9 },
    ];
    const all = await Promise.all(offers.map((perMessageDeflate) => (
      subscriber(server.port, 'rows', { perMessageDeflate }))));
    const agreed = all.map(({ socket }) => socket.extensions);
    assert.deepEqual(agreed.map((text) => text.includes('permessage-deflate')), [true, false, true, true, false]);
    const before = all.map(({ bytes }) => bytes());
    const sdk = sdkFor(server);
    for (const count of [0, 1, 10, 100, 1, 1_000]) {
      await sdk.trigger('rows', 'changed', rows(count));
      for (const { heard } of all) {
        const { event, channel, data } = await heard.take();
        assert.deepEqual({ event, channel, data: JSON.parse(data) }, { event: 'changed', channel: 'rows', data: rows(count) });
      }
    }
    const [deflated, plain, narrow] = all.map(({ bytes }, n) => bytes() - before[n]);
    assert.ok(deflated < plain / 4, `${deflated} of ${plain} bytes`);
    assert.equal(narrow, deflated);
    for (const { socket } of all) socket.close();
  });

  test('sends compressed messages', limit, async () => {
    // This setting compresses even short messages.
    const { socket } = await subscriber(server.port, 'x', { perMessageDeflate: { threshold: 0 } });
    const [text] = await Promise.all([
      emitted(socket, 'message'),
      socket.send(JSON.stringify({ event: 'pusher:ping', data: {} })),
    ]);
    assert.equal(JSON.parse(text[0]).event, 'pusher:pong');
    socket.close();
  });

  test('is declined when compression is off', limit, async () => {
    const plain = await startServer();
    const { socket } = await subscriber(plain.port, 'x', { perMessageDeflate: true });
    assert.equal(socket.extensions, '');
    socket.close();
    await plain.dispose();
  });
});
