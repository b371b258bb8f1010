// The files of deploy/ with their programs from Debian: nginx, supervisor, and systemd's own checks.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import Sdk from 'pusher';
import { once, state, until } from '../support/events.mjs';
import { nextOffline, summary, world } from '../support/clients.mjs';
import { certificate, deployed, folder, foreground, nginxWith, run } from '../support/programs.mjs';
import { freePort } from '../support/ports.mjs';
import { app, binary } from '../support/server.mjs';

const limit = { timeout: 300_000 };

describe('nginx', () => {
  let w, dir, nginx, port;

  before(async () => {
    // Idle clients send a ping after a second.
    w = await world({ env: { REVERB_APP_ACTIVITY_TIMEOUT: '1' } });
    dir = await folder();
    port = await freePort();
    const { cert, key } = await certificate(dir);
    nginx = await nginxWith(dir, [w.server], {
      'listen 443 ssl;': `listen 127.0.0.1:${port} ssl;`,
      '/etc/ssl/certs/app.com.pem': cert,
      '/etc/ssl/private/app.com.key': key,
      // Shortened for the test. It only has to be longer than the client's timeout.
      'proxy_read_timeout 75s;': 'proxy_read_timeout 3s;',
    });
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
    const up = () => fetch(`https://localhost:${port}/app/x`).then(({ status }) => status === 426, () => false);
    await until(up, { what: 'nginx answers' })
      .catch((error) => { throw new Error(`${error.message}\n${nginx.output()}`); });
  });

  after(async () => {
    delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    await nginx?.stop();
    await w.close();
    await dir.remove();
  });

  const secure = () => ({ wsHost: 'localhost', wssPort: port, forceTLS: true, enabledTransports: ['ws', 'wss'] });
  const backend = () => new Sdk({ ...app, host: 'localhost', port: String(port), useTLS: true });

  test('forwards clients and backends, with TLS', limit, async () => {
    const client = await w.connected(secure());
    const channel = client.subscribe('private-orders');
    await once(channel, 'pusher:subscription_succeeded');
    const heard = once(channel, 'shipped');
    await backend().trigger('private-orders', 'shipped', { order: 7 });
    const [data] = await heard;
    assert.deepEqual(data, { order: 7 });
    client.disconnect();
  });

  test('keeps an idle connection open', limit, async () => {
    const client = await w.connected(secure());
    const id = client.connection.socket_id;
    // Twice nginx's read timeout.
    await new Promise((resolve) => { setTimeout(resolve, 6_500); });
    assert.equal(client.connection.state, 'connected');
    assert.equal(client.connection.socket_id, id);
    client.disconnect();
  });

  test('clients reconnect after a restart of the server', limit, async () => {
    const client = await w.connected(secure());
    const channel = client.subscribe('news');
    await once(channel, 'pusher:subscription_succeeded');
    await w.server.restart();
    await once(channel, 'pusher:subscription_succeeded');
    const heard = once(channel, 'e');
    await backend().trigger('news', 'e', {});
    await heard;
    client.disconnect();
  });
});

describe('supervisor', () => {
  let w, dir, supervisor, control;
  const environment = () => ({
    PATH: process.env.PATH, REVERB_APP_ID: app.appId, REVERB_APP_KEY: app.key, REVERB_APP_SECRET: app.secret,
    REVERB_SERVER_HOST: '127.0.0.1', REVERB_SERVER_PORT: String(w.server.port), CLARIM_STATE_DIR: dir.path('state'),
    CLARIM_DRAIN_SECONDS: '5',
  });

  before(async () => {
    // Only its port and its clients, since supervisor starts the server.
    w = await world();
    await w.server.stop();
    dir = await folder();
    const program = await deployed('supervisor/clarim.conf', {
      '/usr/local/bin/clarim': binary,
      'directory=/var/www/app': `directory=${dir.path('')}`,
      'user=www-data\n': '',
      '/var/www/app/storage/logs/clarim.log': dir.path('clarim.log'),
    });
    await dir.write('supervisord.conf', `[supervisord]
nodaemon=true
logfile=${dir.path('supervisord.log')}
pidfile=${dir.path('pid')}
childlogdir=${dir.path('')}
[unix_http_server]
file=${dir.path('sock')}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://${dir.path('sock')}
${program}`);
    const config = ['-c', dir.path('supervisord.conf')];
    supervisor = foreground('supervisord', config, { env: environment() });
    control = async (...args) => (await run('supervisorctl', [...config, ...args])).stdout;
    await until(serves, { what: 'the server is up' })
      .catch((error) => { throw new Error(`${error.message}\n${supervisor.output()}`); });
  });

  after(async () => {
    await supervisor?.stop();
    await w.close();
    await dir.remove();
  });

  const serves = () => fetch(`${w.server.url}/up`).then(({ ok }) => ok, () => false);
  const pid = async () => Number(await control('pid', 'clarim'));

  async function subscribed() {
    const client = await w.connected();
    const channel = client.subscribe('news');
    await once(channel, 'pusher:subscription_succeeded');
    return { client, channel };
  }

  test('restarts the server after a crash, and clients reconnect', limit, async () => {
    const { client, channel } = await subscribed();
    const before = await pid();
    const back = once(channel, 'pusher:subscription_succeeded');
    process.kill(before, 'SIGKILL');
    await back;
    assert.notEqual(await pid(), before);
    client.disconnect();
  });

  test('a stop and a start leave no client in the pause of pusher-js', limit, async (t) => {
    const clients = await Promise.all(Array.from({ length: 30 }, subscribed));
    const before = await pid();
    const offline = clients.map(({ client, channel }) => nextOffline(client, channel));
    await control('restart', 'clarim');
    const { longest, text } = summary(await Promise.all(offline));
    t.diagnostic(text);
    assert.notEqual(await pid(), before);
    // pusher-js waits 15 s after it has found nobody listening.
    assert.ok(longest < 12_000, text);
    for (const { client } of clients) client.disconnect();
  });

  test('stops the server gracefully', limit, async () => {
    const { client } = await subscribed();
    const left = state(client, 'connecting');
    await control('stop', 'clarim');
    await left;
    client.disconnect();
    assert.match(await control('status', 'clarim').catch(({ stdout }) => stdout), /STOPPED/);
  });
});

test("systemd's own checks accept the units", limit, async () => {
  const dir = await folder();
  const unit = await deployed('systemd/clarim.service', { '/usr/local/bin/clarim': binary });
  await dir.write('clarim.service', unit);
  await dir.write('clarim.socket', await deployed('systemd/clarim.socket', {}));
  const units = [dir.path('clarim.service'), dir.path('clarim.socket')];
  const { stdout, stderr } = await run('systemd-analyze', ['verify', ...units]);
  assert.equal(stdout + stderr, '');
  // The exposure level times ten. The rest is due to network access and the right to listen on port 443.
  const security = ['security', '--offline=true', '--no-pager', '--threshold=15', dir.path('clarim.service')];
  await run('systemd-analyze', security).catch(({ stdout: table }) => assert.fail(table));
  await dir.remove();
});
