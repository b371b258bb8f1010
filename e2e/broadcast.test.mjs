// An axum application with the crate `clarim` (its example `orders`), and unmodified laravel-echo. It is
// authorized by the application's own /broadcasting/auth, and receives the events that the application
// broadcasts.
import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { after, before, describe, test } from 'node:test';
import { startExample, subscribed } from './support/application.mjs';
import { inbox } from './support/events.mjs';
import { run } from './support/programs.mjs';
import { binary, startServer } from './support/server.mjs';

const limit = { timeout: 300_000 };

describe('an axum application', () => {
  let server, app;

  before(async () => {
    server = await startServer();
    app = await startExample('orders', server);
  }, { timeout: 300_000 });
  after(async () => {
    await app?.stop();
    await server?.dispose();
  });

  const ship = async (order, headers = {}) => {
    const answer = await fetch(`${app.url}/orders/${order}/ship`, { method: 'POST', headers });
    assert.equal(answer.status, 200);
  };

  test('Echo.private(…).listen receives the events of its channel', limit, async () => {
    const echo = await app.connected(7);
    const shipped = inbox();
    await subscribed(echo.private('orders.107').listen('OrderShipped', shipped));
    await ship(8);
    await ship(107);
    assert.deepEqual(await shipped.take(), { order: 107, tracking: 'BR000000107' });
    assert.deepEqual(shipped.items, []);
  });

  test('another user, a guest, an invalid id and an unknown channel get 403', limit, async () => {
    const refused = async (user, channel) => {
      const errors = inbox();
      (await app.connected(user)).private(channel).error(errors);
      return (await errors.take()).status;
    };
    assert.equal(await refused(8, 'orders.107'), 403);
    assert.equal(await refused('guest', 'orders.107'), 403);
    assert.equal(await refused(7, 'orders.new'), 403);
    assert.equal(await refused(7, 'unknown'), 403);
  });

  test('clarim doctor asks for authorization like a page, and reports the reason of a refusal', limit, async () => {
    const { appId, key, secret } = server;
    const ask = async (user, path = '/broadcasting/auth', as = secret) => {
      const args = ['doctor', server.url, '--app-id', appId, '--key', key, '--secret', as, '--auth', `${app.url}${path}`,
        '--header', `X-User: ${user}`, '--channel', 'private-orders.107'];
      const { stdout } = await run(binary, args, { cwd: tmpdir() }).catch((failed) => failed);
      return stdout;
    };
    assert.match(await ask(7), /the signature for private-orders\.107 is correct/);
    assert.match(await ask(8), /PROBLEM +authorization +it answered 403: this user may not subscribe to private-orders\.107/);
    assert.match(await ask(7, '/auth'), /PROBLEM +authorization +it answered 404: the route does not exist/);
    assert.match(await ask(7, undefined, 'another'), /PROBLEM +authorization +it signs with another secret/);
  });

  test('toOthers: the page whose request caused the event does not receive it', limit, async () => {
    const [a, b] = await Promise.all([app.connected(7), app.connected(7)]);
    const [own, other] = [inbox(), inbox()];
    for (const order of [7, 107]) {
      await subscribed(a.private(`orders.${order}`).listen('OrderShipped', own));
      await subscribed(b.private(`orders.${order}`).listen('OrderShipped', other));
    }
    await ship(7, { 'X-Socket-ID': a.socketId() });
    await ship(107);
    assert.equal((await other.take()).order, 7);
    assert.equal((await own.take()).order, 107, 'the later event is the first to arrive');
  });
});
