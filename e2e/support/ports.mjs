// Port numbers for the servers that tests start.
import dgram from 'node:dgram';
import net from 'node:net';

/** Below the system's ephemeral ports, and low enough for the second ports of a Redis Cluster. */
const FIRST = 10_000;
const COUNT = 9_000;

let next = Math.floor(Math.random() * COUNT);

const bound = (socket, bind, event) => new Promise((resolve) => {
  socket.once('error', () => resolve(false)).once(event, () => resolve(true));
  bind();
});

/** Offset of the UDP port that reserves a port. */
const TWIN = 10_000;

/**
 * Reserves a port for a test, even while its server restarts: a UDP port 10 000 above stays bound until this
 * process ends. The crate clarim-testing does the same. (The UDP port of the same number belongs to HTTP/3.)
 */
export async function freePort() {
  for (let tries = 0; tries < COUNT; tries += 1) {
    const port = FIRST + next;
    next = (next + 1) % COUNT;
    const twin = dgram.createSocket('udp4');
    const probe = net.createServer();
    const isOurs = await bound(twin, () => twin.bind({ port: port + TWIN, address: '127.0.0.1', exclusive: true }), 'listening');
    const isFree = isOurs && await bound(probe, () => probe.listen(port, '127.0.0.1'), 'listening');
    if (probe.listening) await new Promise((resolve) => { probe.close(resolve); });
    if (isFree) {
      twin.unref();
      return port;
    }
    if (isOurs) twin.close();
  }
  throw new Error('no port is free');
}
