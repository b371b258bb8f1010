// An HTTP endpoint that receives webhooks or traces.
import assert from 'node:assert/strict';
import http from 'node:http';
import { inbox } from './events.mjs';

/** Answers with `status` and keeps the accepted requests. */
export async function endpoint() {
  const requests = inbox();
  const taken = [];
  const at = { requests, taken, status: 200, held: undefined };
  const server = http.createServer((request, response) => {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', async () => {
      const rawBody = Buffer.concat(chunks).toString();
      const { status } = at;
      await at.held;
      if (status === 200) taken.push({ path: request.url, headers: request.headers, rawBody });
      requests({ headers: request.headers, rawBody, status });
      response.writeHead(status, status === 302 ? { Location: 'http://127.0.0.1:1/' } : {}).end();
    });
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  at.origin = `http://127.0.0.1:${server.address().port}`;
  at.url = `${at.origin}/hooks`;
  /** Holds all responses until the returned function is called. */
  at.hold = () => {
    let release;
    at.held = new Promise((resolve) => { release = resolve; });
    return release;
  };
  at.close = () => { server.closeAllConnections(); server.close(); };
  at.events = (sdk) => taken.flatMap((request) => {
    const webhook = sdk.webhook(request);
    assert.ok(webhook.isValid(), 'the SDK accepts the signature');
    return webhook.getEvents();
  });
  return at;
}
