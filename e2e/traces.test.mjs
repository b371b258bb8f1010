// Traces of the program itself, turned on by OpenTelemetry's variables alone.
import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';
import { world } from './support/clients.mjs';
import { until } from './support/events.mjs';

/** A collector: what it was sent, as requests. */
async function collector() {
  const taken = [];
  const server = http.createServer((request, response) => {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => {
      taken.push({ url: request.url, headers: request.headers, body: Buffer.concat(chunks).toString('latin1') });
      response.writeHead(200).end();
    });
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return { taken, url: `http://127.0.0.1:${server.address().port}`, close: () => { server.closeAllConnections(); server.close(); } };
}

test('OpenTelemetry’s variables turn them on, and say which and how', { timeout: 60_000 }, async () => {
  const to = await collector();
  const w = await world({
    env: {
      OTEL_EXPORTER_OTLP_ENDPOINT: to.url, OTEL_EXPORTER_OTLP_HEADERS: 'x-key=of-the-collector', OTEL_BSP_SCHEDULE_DELAY: '100',
      OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=tests',
    },
  });
  try {
    await w.sdk.trigger('orders', 'paid', { total: 12 });
    await until(() => to.taken.length > 0, { what: 'it is sent' });
    const [{ url, headers, body }] = to.taken;
    assert.equal(url, '/v1/traces');
    assert.equal(headers['content-type'], 'application/x-protobuf');
    assert.equal(headers['x-key'], 'of-the-collector');
    for (const word of ['clarim', 'tests', 'publish', 'deliver', 'orders']) assert.ok(body.includes(word), word);
    assert.ok(!body.includes('total'), 'what is published is nobody’s business');
  } finally {
    await w.close();
    to.close();
  }
});

test('none are sampled if nobody wants any', { timeout: 60_000 }, async () => {
  const to = await collector();
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: to.url, OTEL_TRACES_SAMPLER: 'always_off', OTEL_BSP_SCHEDULE_DELAY: '100' };
  const w = await world({ env });
  try {
    await w.sdk.trigger('orders', 'paid', {});
    // What there is is sent at the end.
    await w.server.stop();
    assert.deepEqual(to.taken, []);
  } finally {
    await w.close();
    to.close();
  }
});
