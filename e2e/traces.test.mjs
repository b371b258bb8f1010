// Traces of the server binary, enabled by OpenTelemetry's variables alone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { world } from './support/clients.mjs';
import { endpoint } from './support/endpoint.mjs';
import { until } from './support/events.mjs';

test('OpenTelemetry’s variables enable traces and set sampling and export', { timeout: 300_000 }, async () => {
  const to = await endpoint();
  const w = await world({
    env: {
      OTEL_EXPORTER_OTLP_ENDPOINT: to.origin, OTEL_EXPORTER_OTLP_HEADERS: 'x-key=of-the-collector', OTEL_BSP_SCHEDULE_DELAY: '100',
      OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=tests',
    },
  });
  try {
    await w.sdk.trigger('orders', 'paid', { total: 12 });
    await until(() => to.taken.length > 0, { what: 'it is sent' });
    const [{ path, headers, rawBody }] = to.taken;
    assert.equal(path, '/v1/traces');
    assert.equal(headers['content-type'], 'application/x-protobuf');
    assert.equal(headers['x-key'], 'of-the-collector');
    for (const word of ['clarim', 'tests', 'publish', 'deliver', 'orders']) assert.ok(rawBody.includes(word), word);
    assert.ok(!rawBody.includes('total'), 'the data of an event is not part of the trace');
  } finally {
    await w.close();
    to.close();
  }
});

test('OTEL_TRACES_SAMPLER=always_off turns sampling off', { timeout: 300_000 }, async () => {
  const to = await endpoint();
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: to.origin, OTEL_TRACES_SAMPLER: 'always_off', OTEL_BSP_SCHEDULE_DELAY: '100' };
  const w = await world({ env });
  try {
    await w.sdk.trigger('orders', 'paid', {});
    // Pending spans would be sent at the end.
    await w.server.stop();
    assert.deepEqual(to.taken, []);
  } finally {
    await w.close();
    to.close();
  }
});
