// A server that keeps histories, a network that breaks, and clients of both levels.
import { fileURLToPath } from 'node:url';
import Echo from 'laravel-echo';
import { build } from 'vite';
import { world } from '../support/clients.mjs';
import { until } from '../support/events.mjs';
import { startNetwork } from './network.mjs';

/** @clarim/js, from its sources. */
async function plugin() {
  const source = fileURLToPath(new URL('../../packages/js/', import.meta.url));
  const built = await build({
    root: source,
    configFile: false,
    logLevel: 'error',
    build: { write: false, minify: false, target: 'es2022', lib: { entry: 'src/index.ts', formats: ['es'] } },
  });
  const [{ code }] = [built].flat().flatMap(({ output }) => output);
  return import(`data:text/javascript,${encodeURIComponent(code)}`);
}

/** A server with these history rules and variables. `close` ends everything. */
export async function historyWorld(rules, env) {
  const real = await world({ env: { CLARIM_APP_HISTORY: rules, ...env } });
  const network = await startNetwork(real.server.port);
  const { recover, pagePaths } = await plugin();

  const options = (more) => ({ wsPort: network.port, ...more });
  const numbers = (channel) => {
    const heard = [];
    channel.bind('numbered', ({ n }) => heard.push(n));
    return heard;
  };
  const own = {
    ...real,
    network,
    recover,
    /** A client through the network, with what a test looks at. */
    page({ level, storage, ...more } = {}) {
      const pusher = real.client(options({ ...(level === 1 && pagePaths()), ...more }));
      const gaps = [];
      const recovery = level === 2 ? recover(pusher, { storage, onGap: (gap) => gaps.push(gap) }) : undefined;
      return {
        pusher,
        recovery,
        gaps,
        /** Subscribes to the channel and collects the numbers of its events. */
        async follow(name) {
          const channel = pusher.subscribe(name);
          const heard = numbers(channel);
          if (level === 1) channel.bind('clarim:gap', (gap) => gaps.push(gap));
          await until(() => channel.subscribed, { what: `the subscription to ${name}` });
          return { channel, heard };
        },
      };
    },
    /** The same with Echo, to a private channel without its prefix. */
    async echo(level, name) {
      const pusher = real.client(options(level === 1 ? pagePaths() : {}));
      const echo = new Echo({ broadcaster: 'reverb', key: real.server.key, client: pusher, withoutInterceptors: true });
      const gaps = [];
      if (level === 2) recover(echo).onGap((gap) => gaps.push(gap));
      const heard = [];
      echo.private(name).listen('.numbered', ({ n }) => heard.push(n)).listen('.clarim:gap', (gap) => gaps.push(gap));
      await until(() => pusher.channel(`private-${name}`)?.subscribed, { what: `the subscription to ${name}` });
      return { pusher, gaps, heard };
    },
    /** Publishes one event with this number. */
    async publish(channel, n, params) {
      const { status } = await real.sdk.trigger(channel, 'numbered', { n }, params);
      if (status !== 200) throw new Error(`${status} for event ${n}`);
    },
    async close() {
      network.stop();
      await real.close();
    },
  };
  return own;
}

/** The numbers from 1 to n. */
export const upTo = (n) => Array.from({ length: n }, (_, i) => i + 1);

export { until };
