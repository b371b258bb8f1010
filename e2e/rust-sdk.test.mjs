// The server SDK `pusher` from the crate registry, run by sdk-rust.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import test from 'node:test';
import WebSocket from 'ws';
import Pusher from 'pusher';
import { built, startServer } from './support/server.mjs';

const run = promisify(execFile);
/** `cargo xtask sdk-rust` builds it. */
const program = built('sdk-rust');

test('the Rust SDK publishes, excludes and reads', { timeout: 300_000 }, async (t) => {
  const server = await startServer();
  t.after(() => server.dispose());
  const socket = new WebSocket(`ws://127.0.0.1:${server.port}/app/${server.key}?protocol=7`);
  t.after(() => socket.terminate());
  const frames = [];
  const arrived = Promise.withResolvers?.() ?? deferred();
  socket.on('message', (text) => {
    const frame = JSON.parse(text);
    frames.push(frame);
    if (frame.event === 'pusher:connection_established') {
      subscribe(socket, JSON.parse(frame.data).socket_id);
    } else if (frame.event === 'pusher_internal:subscription_succeeded' && frame.channel === 'presence-room') {
      arrived.resolve(JSON.parse(frames[0].data).socket_id);
    }
  });
  const socketId = await arrived.promise;
  const last = new Promise((resolve) => {
    socket.on('message', (text) => { if (JSON.parse(text).event === 'last') resolve(); });
  });
  await run(program, [String(server.port), socketId]);
  await last;
  const events = frames.filter((frame) => !frame.event.startsWith('pusher'));
  assert.deepEqual(events.map((frame) => frame.event), ['text', 'object', 'last']);
  assert.equal(JSON.parse(events[0].data), 'olá');
  assert.deepEqual(JSON.parse(events[1].data), { n: 7 });
});

function subscribe(socket, socketId) {
  const { auth, channel_data } = new Pusher({
    appId: '123456', key: 'reverb-key', secret: 'reverb-secret', host: '127.0.0.1',
  }).authorizeChannel(socketId, 'presence-room', { user_id: '7' });
  for (const data of [{ channel: 'news' }, { channel: 'presence-room', auth, channel_data }]) {
    socket.send(JSON.stringify({ event: 'pusher:subscribe', data }));
  }
}

function deferred() {
  const parts = {};
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
  return parts;
}
