// An axum application with the crate `clarim` (its example `orders`), and laravel-echo, unmodified, in the browser's
// place: subscribed through the application's own /broadcasting/auth, and hearing what the application broadcasts.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { after, before, describe, test } from 'node:test';
import Echo from 'laravel-echo';
import Pusher from 'pusher-js';
import { inbox, state } from './support/events.mjs';
import { startServer } from './support/server.mjs';

const limit = { timeout: 20_000 };
const cwd = fileURLToPath(new URL('..', import.meta.url));
const example = ['--quiet', '--locked', '--package', 'clarim', '--example', 'orders'];

describe('an axum application', () => {
  let server, app, url;
  const clients = [];

  before(() => promisify(execFile)('cargo', ['build', ...example], { cwd }), { timeout: 600_000 });
  before(async () => {
    server = await startServer();
    app = spawn('cargo', ['run', ...example], {
      cwd,
      env: {
        ...process.env,
        BROADCAST_CONNECTION: 'reverb',
        REVERB_APP_ID: server.appId,
        REVERB_APP_KEY: server.key,
        REVERB_APP_SECRET: server.secret,
        REVERB_HOST: '127.0.0.1',
        REVERB_PORT: String(server.port),
        REVERB_SCHEME: 'http',
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    process.once('exit', () => app.kill('SIGKILL'));
    for await (const line of createInterface({ input: app.stdout })) {
      url = line;
      break;
    }
  }, { timeout: 60_000 });
  after(async () => {
    for (const client of clients) client.disconnect();
    app?.kill('SIGKILL');
    await server?.dispose();
  });

  async function connected(user) {
    const echo = new Echo({
      broadcaster: 'reverb',
      Pusher,
      key: server.key,
      wsHost: '127.0.0.1',
      wsPort: server.port,
      forceTLS: false,
      enabledTransports: ['ws', 'wss'],
      authEndpoint: `${url}/broadcasting/auth`,
      auth: { headers: { 'X-User': String(user) } },
      withoutInterceptors: true,
    });
    clients.push(echo);
    await state(echo.connector.pusher, 'connected');
    return echo;
  }

  const subscribed = (channel) => {
    const done = inbox();
    channel.subscribed(done);
    return done.take().then(() => channel);
  };

  const ship = async (order, headers = {}) => {
    const answer = await fetch(`${url}/orders/${order}/ship`, { method: 'POST', headers });
    assert.equal(answer.status, 200);
  };

  test('Echo.private(…).listen hears what its user may hear', limit, async () => {
    const echo = await connected(7);
    const shipped = inbox();
    await subscribed(echo.private('orders.107').listen('OrderShipped', shipped));
    await ship(8);
    await ship(107);
    assert.deepEqual(await shipped.take(), { order: 107, tracking: 'BR000000107' });
    assert.deepEqual(shipped.items, []);
  });

  test('another user gets 403, and so does a guest and a name that is no number', limit, async () => {
    const refused = async (user, channel) => {
      const errors = inbox();
      (await connected(user)).private(channel).error(errors);
      return (await errors.take()).status;
    };
    assert.equal(await refused(8, 'orders.107'), 403);
    assert.equal(await refused('guest', 'orders.107'), 403);
    assert.equal(await refused(7, 'orders.new'), 403);
    assert.equal(await refused(7, 'unknown'), 403);
  });

  test('toOthers: the page whose request caused it hears nothing', limit, async () => {
    const [a, b] = await Promise.all([connected(7), connected(7)]);
    const [own, other] = [inbox(), inbox()];
    for (const order of [7, 107]) {
      await subscribed(a.private(`orders.${order}`).listen('OrderShipped', own));
      await subscribed(b.private(`orders.${order}`).listen('OrderShipped', other));
    }
    await ship(7, { 'X-Socket-ID': a.socketId() });
    await ship(107);
    assert.equal((await other.take()).order, 7);
    assert.equal((await own.take()).order, 107, 'what came behind it is the first that comes');
  });
});
