// The compose file and the Kubernetes manifests, as far as possible without a container engine.
import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse, parseAllDocuments } from 'yaml';
import { sdkFor, world } from '../support/clients.mjs';
import { once, until } from '../support/events.mjs';
import { folder, foreground, run } from '../support/programs.mjs';
import { freePort } from '../support/ports.mjs';
import { app, binary } from '../support/server.mjs';

const limit = { timeout: 300_000 };
const deploy = (name) => readFile(new URL(`../../deploy/${name}`, import.meta.url), 'utf8');
const credentials = { REVERB_APP_ID: app.appId, REVERB_APP_KEY: app.key, REVERB_APP_SECRET: app.secret };
const answers = (port, where) => fetch(`http://127.0.0.1:${port}${where}`).then(({ status }) => status, () => undefined);

describe('compose', () => {
  let dir, redis;
  const nodes = [];
  after(async () => {
    for (const node of nodes) await node.stop();
    await redis?.stop();
    await dir?.remove();
  });

  test('its nodes form a cluster', limit, async () => {
    dir = await folder();
    const variables = { ...credentials, REDIS_PASSWORD: 's3cret-of-redis' };
    const text = (await deploy('docker/compose.yaml')).replace(/\$\{(\w+):\?\}/g, (_, name) => variables[name]);
    assert.doesNotMatch(text, /\$\{/, 'every variable is known');
    const { services } = parse(text, { merge: true });
    const port = await freePort();
    const [program, ...args] = services.redis.command;
    redis = foreground(program, [...args, '--port', String(port), '--bind', '127.0.0.1']);
    const check = services.redis.healthcheck.test.slice(1);
    const env = { ...process.env, ...services.redis.environment };
    await until(() => run(check[0], ['-p', String(port), ...check.slice(1)], { env }).then(({ stdout }) => stdout.trim() === 'PONG', () => false), { what: 'redis is healthy' });

    const names = Object.keys(services).filter((name) => name.startsWith('clarim'));
    assert.deepEqual(names, services.caddy.depends_on);
    const ports = [];
    for (const name of names) {
      const { environment } = services[name];
      assert.equal(environment.REDIS_HOST, 'redis');
      const own = await freePort();
      ports.push(own);
      await mkdir(dir.path(name));
      nodes.push(foreground(binary, ['start'], {
        cwd: dir.path(name),
        env: { ...environment, REDIS_HOST: '127.0.0.1', REDIS_PORT: String(port), CLARIM_SERVER_HOST: '127.0.0.1', CLARIM_SERVER_PORT: String(own) },
      }));
    }
    for (const own of ports) await until(async () => (await answers(own, '/ready')) === 200, { what: 'the node is on the bus' });
    const w = await world();
    try {
      const client = await w.connected({ wsPort: ports[0] });
      const channel = client.subscribe('news');
      await once(channel, 'pusher:subscription_succeeded');
      const heard = once(channel, 'e');
      await sdkFor({ ...app, port: ports[1] }).trigger('news', 'e', { from: 'the other node' });
      assert.deepEqual((await heard)[0], { from: 'the other node' });
    } finally {
      await w.close();
    }
    // A stopped node has enough time to drain.
    assert.ok(Number.parseInt(services[names[0]].stop_grace_period, 10) > 5);
  });
});

describe('Kubernetes', () => {
  let deployment, others;
  before(async () => {
    const documents = parseAllDocuments(await deploy('kubernetes/clarim.yaml')).map((document) => document.toJS());
    deployment = documents.find(({ kind }) => kind === 'Deployment');
    others = Object.fromEntries(documents.map((document) => [document.kind, document.spec]));
  });

  test('labels, names and ports of the manifests match', () => {
    const { template } = deployment.spec;
    assert.deepEqual(others.Service.selector, template.metadata.labels);
    assert.deepEqual(others.PodDisruptionBudget.selector.matchLabels, template.metadata.labels);
    const [container] = template.spec.containers;
    assert.equal(container.ports[0].name, others.Service.ports[0].targetPort);
    const paths = others.Ingress.rules[0].http.paths.map(({ path: where }) => where);
    assert.deepEqual(paths, ['/app', '/apps', '/pusher']);
  });

  test('a stopping node becomes not ready, drains its clients and exits within the grace period', limit, async () => {
    const { containers: [container], terminationGracePeriodSeconds: grace } = deployment.spec.template.spec;
    const env = Object.fromEntries(container.env.map(({ name, value }) => [name, value]));
    const drain = Number(env.CLARIM_DRAIN_SECONDS);
    assert.ok(grace > drain + 6, 'the grace period is longer than the drain');
    const port = await freePort();
    const dir = await folder();
    const args = container.args.map((arg) => arg.replace('8080', String(port)).replace('0.0.0.0', '127.0.0.1'));
    const node = foreground(binary, args, {
      cwd: dir.path(''),
      // A single node with a shorter drain, which makes the test faster.
      env: { ...credentials, ...env, REVERB_SCALING_ENABLED: 'false', CLARIM_DRAIN_SECONDS: '3', CLARIM_STATE_DIR: dir.path('') },
    });
    const w = await world();
    try {
      const probes = { alive: container.livenessProbe.httpGet.path, ready: container.readinessProbe.httpGet.path };
      for (const where of Object.values(probes)) await until(async () => (await answers(port, where)) === 200, { what: where });
      const client = await w.connected({ wsPort: port });
      const stopped = node.stop();
      await until(async () => (await answers(port, probes.ready)) === 503, { what: 'it is not ready', timeout: 3_000 });
      await until(() => client.connection.state !== 'connected', { what: 'its clients are disconnected' });
      const begun = Date.now();
      await stopped;
      assert.ok(Date.now() - begun < 9_000, 'it exits soon after');
    } finally {
      await w.close();
      await node.stop();
      await dir.remove();
    }
  });
});
