// Clients and server SDK, configured as in an application, for one server and one auth server.
import Echo from 'laravel-echo';
import Sdk from 'pusher';
import Pusher from 'pusher-js';
import { startAuth } from './auth.mjs';
import { startServer } from './server.mjs';
import { state } from './events.mjs';

const encryptionMasterKeyBase64 = Buffer.alloc(32, 'clarim').toString('base64');

export function sdkFor({ appId, key, secret, port }) {
  return new Sdk({
    appId, key, secret, host: '127.0.0.1', port: String(port), useTLS: false, encryptionMasterKeyBase64,
  });
}

/** A server, an application and any number of clients. `close` ends them all. */
export async function world({ env } = {}) {
  const server = await startServer({ env });
  const sdk = sdkFor(server);
  const auth = await startAuth(sdk);
  const clients = new Set();

  const options = ({ user } = {}) => {
    const headers = user ? { 'X-User': JSON.stringify(user) } : {};
    return {
      wsHost: '127.0.0.1',
      wsPort: server.port,
      forceTLS: false,
      enabledTransports: ['ws'],
      channelAuthorization: { transport: 'ajax', endpoint: auth.endpoint, headers },
      userAuthentication: { transport: 'ajax', endpoint: auth.userEndpoint, headers },
    };
  };

  return {
    server,
    sdk,
    auth,
    /** A pusher-js client, which may not be connected yet. */
    client({ key = server.key, user, ...more } = {}) {
      const client = new Pusher(key, { cluster: '', ...options({ user }), ...more });
      clients.add(client);
      return client;
    },
    async connected(more) {
      const client = this.client(more);
      await state(client, 'connected');
      return client;
    },
    /** A Laravel Echo, configured as a Laravel application does it for Reverb. */
    echo({ user, ...more } = {}) {
      const headers = user ? { 'X-User': JSON.stringify(user) } : {};
      return this.keep(new Echo({
        broadcaster: 'reverb',
        Pusher,
        key: server.key,
        wsHost: '127.0.0.1',
        wsPort: server.port,
        wssPort: server.port,
        forceTLS: false,
        enabledTransports: ['ws', 'wss'],
        authEndpoint: auth.endpoint,
        auth: { headers: { ...headers } },
        userAuthentication: { endpoint: auth.userEndpoint, headers: { ...headers } },
        withoutInterceptors: true,
        ...more,
      }));
    },
    /** Anything with `disconnect`, to be closed with the rest. */
    keep(client) {
      clients.add(client);
      return client;
    },
    async close() {
      for (const client of clients) client.disconnect();
      await auth.close();
      await server.dispose();
    },
  };
}

/** Measures the next loss of a client's connection. Resolves with milliseconds. */
export function nextOffline({ connection }, channel) {
  return new Promise((resolve) => {
    let begin;
    const lost = ({ previous } = {}) => {
      // Before pusher-js waits, its state does not change.
      if (previous === undefined || previous === 'connected') begin ??= Date.now();
    };
    connection.bind('connecting_in', lost);
    connection.bind('state_change', lost);
    const back = () => {
      if (begin === undefined) return;
      connection.unbind('connecting_in', lost);
      connection.unbind('state_change', lost);
      channel.unbind('pusher:subscription_succeeded', back);
      resolve(Date.now() - begin);
    };
    channel.bind('pusher:subscription_succeeded', back);
  });
}

/** The times in order, and as a text. */
export function summary(times) {
  const all = times.toSorted((a, b) => a - b);
  const at = (share) => all[Math.ceil(all.length * share) - 1];
  return { longest: all.at(-1), text: `${all.length} clients offline: median ${at(0.5)} ms, p99 ${at(0.99)} ms, longest ${all.at(-1)} ms` };
}
