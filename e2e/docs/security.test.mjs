// The rotation of a secret, as docs/security.md describes it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import Pusher from 'pusher-js';
import { sdkFor } from '../support/clients.mjs';
import { inbox, once, state, until } from '../support/events.mjs';
import { freePort } from '../support/ports.mjs';
import { folder, foreground } from '../support/programs.mjs';
import { binary } from '../support/server.mjs';

test('a new secret in .env takes effect while connections stay open', { timeout: 300_000 }, async (t) => {
  const dir = await folder();
  t.after(() => dir.remove());
  const port = await freePort();
  const write = (secret) => dir.write('.env', `REVERB_APP_ID=1\nREVERB_APP_KEY=my-key\nREVERB_APP_SECRET=${secret}\n`);
  const backend = (secret) => sdkFor({ appId: '1', key: 'my-key', secret, port });
  const publish = (secret) => backend(secret).trigger('news', 'hello', secret).then(({ status }) => status, ({ status }) => status);

  await write('old-secret');
  const server = foreground(binary, ['start', '--host', '127.0.0.1', '--port', String(port)], {
    cwd: dir.path(''), env: { PATH: process.env.PATH, XDG_RUNTIME_DIR: dir.path('') },
  });
  t.after(() => server.stop());
  await until(async () => await publish('old-secret') === 200, { what: 'the server' });
  const client = new Pusher('my-key', { cluster: '', wsHost: '127.0.0.1', wsPort: port, forceTLS: false, enabledTransports: ['ws'] });
  t.after(() => client.disconnect());
  await state(client, 'connected');
  const id = client.connection.socket_id;
  const received = inbox();
  const channel = client.subscribe('news');
  channel.bind('hello', received);
  await once(channel, 'pusher:subscription_succeeded');

  await write('new-secret');
  await until(async () => await publish('new-secret') === 200, { what: 'the new secret' });
  assert.equal(await received.take(), 'new-secret');
  assert.equal(client.connection.socket_id, id);
  assert.equal(await publish('old-secret'), 401);
});
