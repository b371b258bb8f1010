// Examples of the crate `clarim`: axum applications that publish to a server, with Echo as in their pages.
import Echo from 'laravel-echo';
import Pusher from 'pusher-js';
import { inbox, state } from './events.mjs';
import { foregroundUntil } from './programs.mjs';
import { built } from './server.mjs';

/** The example, which publishes to this server. `stop` ends it and its clients. */
export async function startExample(name, server) {
  const app = await foregroundUntil(/^(http:\/\/.*)\n/m, built(`examples/${name}`), [], {
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
  });
  const clients = [];
  const [, url] = app.match;
  return {
    url,
    async connected(user) {
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
    },
    async stop() {
      for (const client of clients) client.disconnect();
      await app.stop();
    },
  };
}

/** Resolves with the channel once it is subscribed. */
export function subscribed(channel) {
  const done = inbox();
  channel.subscribed(done);
  return done.take().then(() => channel);
}
