// Webhooks on disk: they survive a crash of the server and an endpoint that is down.
import assert from 'node:assert/strict';
import { access } from 'node:fs/promises';
import path from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';
import { world } from '../support/clients.mjs';
import { endpoint } from '../support/endpoint.mjs';
import { once, until } from '../support/events.mjs';
import { env as counted, metric } from '../support/metrics.mjs';
import { folder, run } from '../support/programs.mjs';
import { freePort } from '../support/ports.mjs';
import { binary } from '../support/server.mjs';

const limit = { timeout: 300_000 };
const user = (id) => ({ user: { id, info: {} } });

describe('webhooks on disk', () => {
  let w, hooks, state;
  const worlds = [];

  beforeEach(async () => {
    state = await folder();
    hooks = await endpoint();
    w = await world({ env: {
      REVERB_APP_WEBHOOKS: hooks.url, CLARIM_WEBHOOK_STORE: 'disk', CLARIM_STATE_DIR: state.path('state'), ...counted,
    } });
    worlds.push({ w, hooks, state });
  });
  after(async () => {
    for (const { w, hooks, state } of worlds) {
      await w.close();
      hooks.close();
      await state.remove();
    }
  });

  const told = () => hooks.events(w.sdk).map(({ name, user_id }) => (user_id ? `${name} ${user_id}` : name));
  const tells = (count) => until(() => told().length >= count, { what: `${count} events`, timeout: 90_000 })
    .catch((error) => { throw new Error(`${error.message}: ${told().join(', ')}\n${w.server.output()}`); });
  const present = async (id, channel = 'presence-room') => {
    const client = await w.connected(user(id));
    await once(client.subscribe(channel), 'pusher:subscription_succeeded');
    return client;
  };
  /** A request that is accepted right before a crash is sent again. */
  const noneWaits = () => until(async () => (await metric(w.server, 'clarim_webhook_events_waiting')) === 0, { what: 'nothing waits' });

  test('requests that a down endpoint has not accepted arrive after a crash of the server, in order and once', limit, async () => {
    hooks.status = 500;
    for (const channel of ['a', 'b', 'c', 'd', 'e']) {
      const client = await w.connected();
      await once(client.subscribe(channel), 'pusher:subscription_succeeded');
    }
    await until(async () => (await metric(w.server, 'clarim_webhook_failures_total')) >= 2, { what: 'two attempts' });
    // While a request fails, the next events are gathered for a second.
    await new Promise((resolve) => { setTimeout(resolve, 2_000); });
    await w.server.kill();
    hooks.status = 200;
    await w.server.start();
    await until(() => w.server.output().includes('webhooks of an earlier run wait'), { what: 'the log says what waits' });
    await tells(5);
    const channels = hooks.events(w.sdk).map(({ name, channel }) => `${name} ${channel}`);
    assert.deepEqual(channels, ['a', 'b', 'c', 'd', 'e'].map((channel) => `channel_occupied ${channel}`));
    await noneWaits();
  });

  test('after a crash, only clients that do not come back are reported as gone', limit, async () => {
    const ana = await present('ana');
    const ben = await present('ben');
    await tells(3);
    await noneWaits();
    await w.server.kill();
    ben.disconnect();
    const begun = Date.now();
    await w.server.start();
    await tells(4);
    assert.ok(Date.now() - begun > 10_000, 'clients have time to come back');
    assert.deepEqual(told(), ['member_added ana', 'channel_occupied', 'member_added ben', 'member_removed ben']);
    ana.disconnect();
    await tells(6);
    assert.deepEqual(told().slice(4).sort(), ['channel_vacated', 'member_removed ana']);
  });

  test('a shutdown keeps requests that the endpoint has not accepted', limit, async () => {
    hooks.status = 503;
    await present('ana');
    await until(async () => (await metric(w.server, 'clarim_webhook_failures_total')) >= 1, { what: 'an attempt' });
    await w.server.stop();
    assert.match(w.server.output(), /webhook events wait on disk for the next start/);
    hooks.status = 200;
    await w.server.start();
    await tells(2);
    assert.deepEqual(told().slice(0, 2), ['member_added ana', 'channel_occupied']);
  });

  test('only one server uses the directory', limit, async () => {
    const queue = path.join(state.path('state'), 'webhooks/queue.sqlite');
    await until(() => access(queue).then(() => true, () => false), { what: 'the queue on disk' });
    const env = {
      CLARIM_WEBHOOK_STORE: 'disk', CLARIM_STATE_DIR: state.path('state'), REVERB_APP_WEBHOOKS: hooks.url,
      REVERB_APP_ID: '1', REVERB_APP_KEY: 'k', REVERB_APP_SECRET: 's',
    };
    const other = run(binary, ['start', '--port', String(await freePort())], { env, cwd: state.path('') });
    await assert.rejects(other, ({ stdout, stderr }) => {
      assert.match(stdout + stderr, /another server uses it; give each server a writable directory of its own/);
      return true;
    });
  });
});
