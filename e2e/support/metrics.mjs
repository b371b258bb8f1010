// A server's metrics.
import assert from 'node:assert/strict';

/** The environment of a server with metrics. */
export const env = { CLARIM_METRICS_TOKEN: '0123456789abcdef' };

/** All metrics, as text. */
export async function metrics({ url }) {
  return (await fetch(`${url}/metrics`, { headers: { Authorization: `Bearer ${env.CLARIM_METRICS_TOKEN}` } })).text();
}

/** The value of a metric, by name and labels. */
export async function metric(server, name) {
  const line = (await metrics(server)).split('\n').find((one) => one.startsWith(`${name} `));
  assert.ok(line, `${name} is among the metrics`);
  return Number(line.split(' ').at(-1));
}
