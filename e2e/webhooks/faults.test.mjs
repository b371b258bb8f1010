// Webhooks whose endpoints misbehave: nobody else notices, and what is lost is counted and logged.
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

/** A server of bare sockets that does with each connection what it is told. */
async function rude(behave) {
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

/** Two clients on a private channel: what one whispers the other one hears, and how long that takes in ms. */
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

test('an endpoint that never answers: delivery is as fast, memory is bounded, what is lost is counted and logged', limit, async () => {
  const dead = await rude((socket) => socket.resume());
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
    // Each is looked at by another thread, a moment after it was whispered.
    const accounted = (all) => until(async () => {
      waiting = await w.metric('clarim_webhook_events_waiting');
      dropped = await w.metric('clarim_webhook_events_total{as="dropped"}');
      return waiting + dropped === all;
    }, { what: 'every one is accounted for' });
    await accounted(450);
    // 16 MiB hold about 165 of them.
    assert.ok(waiting > 150 && waiting < 300, `${waiting} wait`);
    const more = await w.metric('process_resident_memory_bytes') - memory;
    assert.ok(more < 48 << 20, `${more >> 20} MiB more for 40 MB of events`);
    const last = [];
    for (let n = 0; n < 50; n += 1) last.push(await whisper({ n }));
    assert.ok(median(last) < 5 * median(first) + 50, `${median(last)} ms where it was ${median(first)}`);
    await accounted(500);
    await w.server.stop();
    const said = w.server.output().split('\n').filter((line) => line.includes('no more may wait'));
    assert.ok(said.length < 8, 'the log says it once in a while');
    const counts = said.map((line) => Number(line.match(/count=(\d+)/)[1]));
    assert.equal(counts.reduce((sum, count) => sum + count, 0), dropped, 'and each of them in the end');
    assert.match(w.server.output(), /the server ends/);
  } finally {
    await w.close();
    dead.close();
  }
});

const RUBBISH = {
  'bytes that are no HTTP': (socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n\r\n'),
  'nothing, and it hangs up': (socket) => socket.destroy(),
  'a head that never ends': (socket) => {
    socket.write('HTTP/1.1 200 OK\r\n');
    const more = setInterval(() => socket.write(`X-More: ${'y'.repeat(60_000)}\r\n`), 5);
    socket.once('close', () => clearInterval(more));
  },
  'a status that does not exist': (socket) => socket.end('HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n'),
  'a redirection to itself': (socket) => socket.end('HTTP/1.1 307 Again\r\nLocation: /hooks\r\nContent-Length: 0\r\n\r\n'),
};

test('endpoints that answer rubbish are asked again; one that is well beside them gets all', limit, async () => {
  const asked = Object.fromEntries(Object.keys(RUBBISH).map((what) => [what, 0]));
  const rudes = await Promise.all(Object.entries(RUBBISH).map(([what, behave]) => rude((socket) => {
    asked[what] += 1;
    socket.once('data', () => behave(socket));
  })));
  const bodies = [];
  const well = await rude((socket) => socket.on('data', (bytes) => {
    bodies.push(bytes.toString());
    socket.write('HTTP/1.1 204 No Content\r\n\r\n');
  }));
  const w = await worldWith([...rudes, well].map(({ url }) => ({ url, events: ['channel_occupied'] })));
  try {
    const whisper = await pair(w);
    await until(() => bodies.join('').includes('private-room'), { what: 'who is well is told' });
    await until(() => Object.values(asked).every((times) => times >= 2), { what: 'the others are asked again' });
    assert.ok(await whisper({}) < 1_000);
    assert.equal(await w.metric('clarim_webhook_events_total{as="sent"}'), 1, 'no rubbish is taken for success');
    assert.equal(await w.metric('clarim_webhook_events_waiting'), rudes.length);
  } finally {
    await w.close();
    for (const one of [...rudes, well]) one.close();
  }
});

test('an answer whose body never ends is an answer', limit, async () => {
  let asked = 0;
  const endless = await rude((socket) => {
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
    await until(async () => await w.metric('clarim_webhook_events_total{as="sent"}') === 1, { what: 'it counts' });
    await until(() => [...endless.sockets].every((socket) => socket.destroyed), { what: 'its rest is not read' });
    assert.equal(asked, 1);
  } finally {
    await w.close();
    endless.close();
  }
});

test('what has piled up while an endpoint was slow comes in few requests, in order', limit, async () => {
  const requests = [];
  let held;
  const slow = await rude((socket) => socket.on('data', (bytes) => {
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

test('by HTTPS, and only to who has the right certificate', limit, async () => {
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
  // The certificate is of another name.
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
