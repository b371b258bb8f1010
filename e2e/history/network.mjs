// A network between clients and a server that breaks for a while.
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** Forwards connections to the port. */
export async function startNetwork(port) {
  const open = new Set();
  let whole = Promise.resolve();
  const server = net.createServer(async (client) => {
    open.add(client);
    client.on('error', () => client.destroy()).on('close', () => open.delete(client));
    // During a break new connections are neither answered nor refused.
    await whole;
    if (client.destroyed) return;
    const upstream = net.connect(port, '127.0.0.1');
    client.on('close', () => upstream.destroy());
    upstream.on('error', () => client.destroy()).on('close', () => client.destroy());
    client.pipe(upstream);
    upstream.pipe(client);
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  // A test that fails before it stops the network must not keep the process.
  server.unref();
  const breakAll = () => {
    for (const client of open) client.destroy();
  };
  return {
    port: server.address().port,
    /** Breaks all connections. Returns a function that lets new ones through. */
    cut() {
      let mend;
      whole = new Promise((resolve) => { mend = resolve; });
      breakAll();
      return mend;
    },
    /** Breaks all connections for this time in ms. */
    async cutFor(ms) {
      const mend = this.cut();
      await delay(ms);
      mend();
    },
    stop() {
      breakAll();
      server.close();
    },
  };
}
