// Prometheus with the files of deploy/: it scrapes the server, and every query of the dashboard and every
// alert uses existing metrics.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { world } from '../support/clients.mjs';
import { once, until } from '../support/events.mjs';
import { deployed, folder, foreground, run } from '../support/programs.mjs';
import { freePort } from '../support/ports.mjs';

const limit = { timeout: 300_000 };
const TOKEN = '0123456789abcdef';
let dir, redis, prometheus, url, w;

before(async () => {
  dir = await folder();
  const redisPort = await freePort();
  redis = foreground('redis-server', ['--port', String(redisPort), '--bind', '127.0.0.1', '--save', '']);
  w = await world({ env: {
    CLARIM_METRICS_TOKEN: TOKEN, REVERB_SCALING_ENABLED: 'true', REDIS_HOST: '127.0.0.1', REDIS_PORT: String(redisPort),
    REVERB_APP_WEBHOOKS: 'http://127.0.0.1:1/',
  } });
  await dir.write('token', TOKEN);
  await dir.write('alerts.yml', await deployed('prometheus/alerts.yml', {}));
  await dir.write('prometheus.yml', await deployed('prometheus/prometheus.yml', {
    '127.0.0.1:8080': `127.0.0.1:${w.server.port}`,
    '/etc/prometheus/clarim-token': dir.path('token'),
    'scrape_interval: 15s': 'scrape_interval: 500ms',
    'evaluation_interval: 15s': 'evaluation_interval: 500ms',
  }));
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  prometheus = foreground('prometheus', [
    `--config.file=${dir.path('prometheus.yml')}`, `--storage.tsdb.path=${dir.path('data')}`, `--web.listen-address=127.0.0.1:${port}`,
  ]);
  await until(() => fetch(`${url}/-/ready`).then(({ ok }) => ok, () => false), { what: 'prometheus' })
    .catch((error) => { throw new Error(`${error.message}\n${prometheus.output()}`); });
}, limit);

after(async () => {
  await prometheus?.stop();
  await w?.close();
  await redis?.stop();
  await dir?.remove();
});

const ask = async (expr) => {
  const answer = await (await fetch(`${url}/api/v1/query?${new URLSearchParams({ query: expr })}`)).json();
  assert.equal(answer.status, 'success', `${expr}: ${answer.error}`);
  return answer.data.result;
};

test('promtool accepts the rules', limit, async () => {
  await run('promtool', ['check', 'rules', dir.path('alerts.yml')]);
  await run('promtool', ['check', 'config', dir.path('prometheus.yml')]);
});

test('every query of the dashboard has a result', limit, async () => {
  const client = await w.connected({ user: { id: 1 } });
  await once(client.subscribe('presence-room'), 'pusher:subscription_succeeded');
  // A client with a wrong key, so that there is a refusal to show.
  w.client({ key: 'wrong' });
  const working = setInterval(() => w.sdk.trigger('presence-room', 'e', {}).catch(() => undefined), 100);
  const dashboard = JSON.parse(await readFile(new URL('../../deploy/grafana/dashboard.json', import.meta.url)));
  const queries = dashboard.panels.flatMap(({ title, targets }) => targets.map(({ expr }) => ({ title, expr })));
  assert.ok(queries.length > 15);
  try {
    for (const { title, expr } of queries) {
      const filled = expr.replaceAll('$instance', '.*').replaceAll('$__rate_interval', '10s');
      assert.doesNotMatch(filled, /\$/, expr);
      await until(async () => (await ask(filled)).length > 0, { what: `${title}: ${filled}`, every: 200 });
    }
    const [{ value: [, connections] }] = await ask('sum(clarim_connections)');
    assert.equal(connections, '1');
    const [{ value: [, published] }] = await ask('sum(clarim_events_published_total)');
    assert.ok(Number(published) > 3);
  } finally {
    clearInterval(working);
  }
});

test('every alert uses existing metrics, and none fires without a reason', limit, async () => {
  const rules = async () => (await (await fetch(`${url}/api/v1/rules`)).json()).data.groups.flatMap((group) => group.rules);
  await until(async () => (await rules()).every(({ health }) => health === 'ok'), { what: 'all rules are evaluated' });
  for (const { name, query, state } of await rules()) {
    assert.notEqual(state, 'firing', name);
    for (const [metric] of query.matchAll(/\b(?:clarim|process|up)[a-z_]*/g)) {
      if (metric === 'clarim') continue;
      await until(async () => (await ask(metric)).length > 0, { what: `${name}: ${metric} exists`, every: 200 });
    }
  }
});

test('an alert is pending for a server that is down', limit, async () => {
  await w.server.stop();
  const pending = async () => (await (await fetch(`${url}/api/v1/alerts`)).json()).data.alerts;
  await until(async () => (await pending()).some(({ labels }) => labels.alertname === 'ClarimDown'), { what: 'ClarimDown' });
});
