// The application that pusher-js's suite expects. It authorizes channels, publishes events through the HTTP
// API, and answers script requests. Pusher's own is not published; the specs show what it answers.
import http from 'node:http';

/** Takes a server SDK for each cluster. The first part of a path is the name of the cluster. */
export async function startBackend(sdks) {
  const server = http.createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const url = new URL(request.url, 'http://localhost');
    const fields = Object.fromEntries([...url.searchParams, ...new URLSearchParams(body)]);
    const [, cluster, ...action] = url.pathname.split('/');
    const [status, type, text] = await respond(sdks[cluster], action, fields);
    response.writeHead(status, { 'content-type': type }).end(text);
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    close: () => { server.closeAllConnections(); server.close(); },
  };
}

const script = (callback, ...values) => (
  [200, 'text/javascript', `${callback}(${values.map((value) => JSON.stringify(value)).join(', ')});`]);

async function respond(sdk, action, { callback, receiver, ...fields }) {
  const last = action.at(-1);
  switch (action.join('/').replace(/\/\d+$/, '')) {
    // An empty page for the suite.
    case '':
      return [200, 'text/html', '<!doctype html><link rel="icon" href="data:,">'];
    case 'auth': {
      const auth = authorize(sdk, fields);
      // Pages authorize with JSONP, Node with a POST request.
      return callback ? script(callback, auth) : [200, 'application/json', JSON.stringify(auth)];
    }
    case 'v2/send': {
      const { channel, event, data } = decoded(fields);
      await sdk.trigger(channel, event, data);
      return script(`Pusher.Integration.ScriptReceivers[${last}]`, null, {});
    }
    case 'v2/jsonp/echo':
      return script(`Pusher.ScriptReceivers[${last}]`, null, decoded(fields));
    case 'v2/script_request/echo':
      return script(receiver, null, fields);
    case 'jsonp/500':
      return [500, 'text/plain', ''];
    default:
      return [404, 'text/plain', ''];
  }
}

function authorize(sdk, { socket_id: id, channel_name: channel }) {
  if (!channel.startsWith('presence-')) return sdk.authorizeChannel(id, channel);
  const info = { name: `Integration ${id}`, email: `integration-${id}@example.com` };
  return sdk.authorizeChannel(id, channel, { user_id: id, user_info: info });
}

/** pusher-js encodes the values of script requests as Base64, and objects as JSON before that. */
function decoded(fields) {
  const value = (text) => {
    try { return JSON.parse(text); } catch { return text; }
  };
  return Object.fromEntries(Object.entries(fields).map(([name, text]) => (
    [name, value(Buffer.from(text, 'base64').toString())])));
}
