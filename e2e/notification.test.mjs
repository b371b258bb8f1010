// Notifications of an axum application with the crate `clarim` (its example `invoice`), received by
// unmodified laravel-echo with `notification()`.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startExample, subscribed } from './support/application.mjs';
import { inbox } from './support/events.mjs';
import { startServer } from './support/server.mjs';

const limit = { timeout: 300_000 };

describe('notifications', () => {
  let server, app;

  before(async () => {
    server = await startServer();
    app = await startExample('invoice', server);
  }, { timeout: 300_000 });
  after(async () => {
    await app?.stop();
    await server?.dispose();
  });

  const ask = async (method, path, user) => {
    const answer = await fetch(`${app.url}${path}`, { method, headers: { 'X-User': String(user) } });
    assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
    return answer.status === 200 && method === 'GET' ? answer.json() : undefined;
  };

  const channel = (echo, user) => echo.private(`App.Models.User.${user}`);

  test('Echo.private(…).notification gets id, type and data, and the row is stored', limit, async () => {
    const [heard, stopped, others] = [inbox(), inbox(), inbox()];
    const echo = await app.connected(7);
    await subscribed(channel(echo, 7).notification(heard).notification(stopped));
    await subscribed(channel(await app.connected(8), 8).notification(others));

    await ask('POST', '/invoices/1/pay', 7);
    const { id, ...rest } = await heard.take();
    assert.match(id, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    assert.deepEqual(rest, {
      type: 'App\\Notifications\\InvoicePaid', invoice_id: 1, amount: 4200, message: 'Fatura #1 foi paga!',
    });
    const { data: [row], unread } = await ask('GET', '/notifications', 7);
    assert.deepEqual([row.id, row.type, unread], [id, rest.type, 1]);
    assert.deepEqual(row.data, { invoice_id: 1, amount: 4200 });

    await ask('POST', `/notifications/${id}/read`, 7);
    assert.equal((await ask('GET', '/notifications?unread=true', 7)).data.length, 0);

    assert.equal((await stopped.take()).id, id);
    channel(echo, 7).stopListeningForNotification(stopped);
    await ask('POST', '/invoices/2/pay', 7);
    assert.equal((await heard.take()).invoice_id, 2);
    assert.deepEqual(stopped.items, []);
    await ask('POST', '/invoices/3/pay', 8);
    assert.equal((await others.take()).invoice_id, 3, 'the notification of another user did not arrive before it');
  });

  test('a user may not subscribe to the channel of another user', limit, async () => {
    const errors = inbox();
    channel(await app.connected(8), 7).error(errors);
    assert.equal((await errors.take()).status, 403);
  });
});
