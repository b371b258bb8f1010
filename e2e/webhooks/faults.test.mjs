// Webhooks whose endpoints misbehave: other endpoints and clients are not affected, and lost events are
// counted and logged.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import https from 'node:https';
import net from 'node:net';
import { test } from 'node:test';
import { world } from '../support/clients.mjs';
import { inbox, once, until } from '../support/events.mjs';
import { env as counted, metric } from '../support/metrics.mjs';
import { certificate, folder } from '../support/programs.mjs';

const limit = { timeout: 300_000 };

/** A TCP server that calls `behave` with each connection. */
async function tcpServer(behave) {
  const sockets = new Set();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    behave(socket);
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return {
    url: `http://127.0.0.1:${server.address().port}/hooks`,
    sockets,
    close: () => { for (const socket of sockets) socket.destroy(); server.close(); },
  };
}

async function worldWith(webhooks, env = {}) {
  const w = await world({ env: { REVERB_APP_WEBHOOKS: JSON.stringify(webhooks), ...counted, ...env } });
  return { ...w, metric: (name) => metric(w.server, name) };
}

/**
 * Two clients on a private channel. Returns a function that whispers to the other one and measures the time
 * in ms.
 */
async function pair(w) {
  const [one, other] = [await w.connected(), await w.connected()];
  const channels = [one, other].map((client) => client.subscribe('private-room'));
  await Promise.all(channels.map((channel) => once(channel, 'pusher:subscription_succeeded')));
  return async (data) => {
    const heard = once(channels[1], 'client-said');
    const begun = performance.now();
    assert.ok(channels[0].trigger('client-said', data));
    await heard;
    return performance.now() - begun;
  };
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

test('an endpoint that never answers does not slow down delivery, memory is bounded, and lost events are counted and logged', limit, async () => {
  const dead = await tcpServer((socket) => socket.resume());
  const w = await worldWith([{ url: dead.url, events: ['client_event'] }]);
  try {
    const whisper = await pair(w);
    const first = [];
    for (let n = 0; n < 50; n += 1) first.push(await whisper({ n }));
    const memory = await w.metric('process_resident_memory_bytes');
    const filler = 'x'.repeat(99_000);
    for (let n = 0; n < 400; n += 1) await whisper({ filler });
    let waiting;
    let dropped;
    // Webhooks are handled by another thread, a moment after the whisper.
    const accounted = (all) => until(async () => {
      waiting = await w.metric('clarim_webhook_events_waiting');
      dropped = await w.metric('clarim_webhook_events_total{as="dropped"}');
      return waiting + dropped === all;
    }, { what: 'every event is accounted for' });
    await accounted(450);
    // 16 MiB hold about 165 of them.
    assert.ok(waiting > 150 && waiting < 300, `${waiting} events are waiting`);
    const more = await w.metric('process_resident_memory_bytes') - memory;
    assert.ok(more < 48 << 20, `${more >> 20} MiB more for 40 MB of events`);
    const last = [];
    for (let n = 0; n < 50; n += 1) last.push(await whisper({ n }));
    assert.ok(median(last) < 5 * median(first) + 50, `${median(last)} ms instead of ${median(first)}`);
    await accounted(500);
    await w.server.stop();
    const lines = w.server.output().split('\n').filter((line) => line.includes('its queue is full'));
    assert.ok(lines.length < 8, 'the log entries are rate-limited');
    const counts = lines.map((line) => Number(line.match(/count=(\d+)/)[1]));
    assert.equal(counts.reduce((sum, count) => sum + count, 0), dropped, 'the log entries add up to all dropped events');
    assert.match(w.server.output(), /not accepted before the shutdown/);
  } finally {
    await w.close();
    dead.close();
  }
});

const FAULTS = {
  'bytes that are not HTTP': (socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n\r\n'),
  'a closed connection': (socket) => socket.destroy(),
  'endless headers': (socket) => {
    socket.write('HTTP/1.1 200 OK\r\n');
    const more = setInterval(() => socket.write(`X-More: ${'y'.repeat(60_000)}\r\n`), 5);
    socket.once('close', () => clearInterval(more));
  },
  'an unknown status': (socket) => socket.end('HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n'),
  'a redirect to itself': (socket) => socket.end('HTTP/1.1 307 Again\r\nLocation: /hooks\r\nContent-Length: 0\r\n\r\n'),
};

test('requests to broken endpoints are retried, and a healthy endpoint gets all events', limit, async () => {
  const asked = Object.fromEntries(Object.keys(FAULTS).map((what) => [what, 0]));
  const broken = await Promise.all(Object.entries(FAULTS).map(([what, behave]) => tcpServer((socket) => {
    asked[what] += 1;
    socket.once('data', () => behave(socket));
  })));
  const bodies = [];
  const healthy = await tcpServer((socket) => socket.on('data', (bytes) => {
    bodies.push(bytes.toString());
    socket.write('HTTP/1.1 204 No Content\r\n\r\n');
  }));
  const w = await worldWith([...broken, healthy].map(({ url }) => ({ url, events: ['channel_occupied'] })));
  try {
    const whisper = await pair(w);
    await until(() => bodies.join('').includes('private-room'), { what: 'the healthy endpoint gets its event' });
    await until(() => Object.values(asked).every((times) => times >= 2), { what: 'the others get retries' });
    assert.ok(await whisper({}) < 1_000);
    assert.equal(await w.metric('clarim_webhook_events_total{as="sent"}'), 1, 'no invalid response counts as success');
    assert.equal(await w.metric('clarim_webhook_events_waiting'), broken.length);
  } finally {
    await w.close();
    for (const one of [...broken, healthy]) one.close();
  }
});

test('a response with an endless body counts as a response', limit, async () => {
  let asked = 0;
  const endless = await tcpServer((socket) => {
    asked += 1;
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
      const more = setInterval(() => socket.write(`1000\r\n${'z'.repeat(0x1000)}\r\n`), 5);
      socket.once('close', () => clearInterval(more));
    });
  });
  const w = await worldWith([{ url: endless.url, events: ['channel_occupied'] }]);
  try {
    await pair(w);
    await until(async () => await w.metric('clarim_webhook_events_total{as="sent"}') === 1, { what: 'the event counts as sent' });
    await until(() => [...endless.sockets].every((socket) => socket.destroyed), { what: 'the rest of the body is not read' });
    assert.equal(asked, 1);
  } finally {
    await w.close();
    endless.close();
  }
});

test('events queued during a slow request are sent in few requests, in order', limit, async () => {
  const requests = [];
  let held;
  const slow = await tcpServer((socket) => socket.on('data', (bytes) => {
    requests.push(bytes.toString());
    const answer = () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    if (requests.length === 1) held = answer; else answer();
  }));
  const w = await worldWith([{ url: slow.url, events: ['client_event'] }]);
  try {
    const whisper = await pair(w);
    await whisper({ n: 0 });
    await until(() => held, { what: 'the first request' });
    for (let n = 1; n <= 120; n += 1) await whisper({ n });
    held();
    await until(async () => await w.metric('clarim_webhook_events_waiting') === 0, { what: 'all are sent' });
    const all = requests.join('');
    const numbers = [...all.matchAll(/"n\\*":(\d+)/g)].map(([, n]) => Number(n));
    assert.deepEqual(numbers, Array.from({ length: 121 }, (_, n) => n));
    assert.equal([...all.matchAll(/POST \/hooks/g)].length, 1 + 3, '120 in requests of at most 50');
  } finally {
    await w.close();
    slow.close();
  }
});

test('webhooks are sent over HTTPS, but not to a server with a wrong certificate', limit, async () => {
  const dir = await folder();
  const { cert, key } = await certificate(dir);
  const bodies = inbox();
  const server = https.createServer({ cert: await readFile(cert), key: await readFile(key) }, (request, response) => {
    request.on('data', (chunk) => bodies(String(chunk)));
    request.on('end', () => response.end());
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const { port } = server.address();
  const right = { url: `https://localhost:${port}/right`, events: ['channel_occupied'] };
  // The certificate is for another name.
  const wrong = { url: `https://127.0.0.1:${port}/wrong`, events: ['channel_occupied'] };
  const w = await worldWith([right, wrong], { SSL_CERT_FILE: cert });
  try {
    await pair(w);
    assert.match(await bodies.take(), /private-room/);
    await until(async () => await w.metric('clarim_webhook_failures_total') >= 1, { what: 'the other is refused' });
    assert.equal(bodies.items.length, 0);
  } finally {
    await w.close();
    server.closeAllConnections();
    server.close();
    await dir.remove();
  }
});
