// Stands in for the Laravel application: the two routes that authenticate users and authorize channels.
// The user is the JSON in the header X-User: {"id": 7, "info": {…}, "watchlist": […]}.
import http from 'node:http';

export async function startAuth(sdk) {
  /** All received requests, for tests that check them. */
  const requests = [];
  const state = { isAway: false };
  const server = http.createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const fields = (request.headers['content-type'] ?? '').includes('json')
      ? JSON.parse(body)
      : Object.fromEntries(new URLSearchParams(body));
    const user = JSON.parse(request.headers['x-user'] ?? 'null');
    requests.push({ url: request.url, headers: request.headers, fields });

    const [status, answer] = state.isAway ? [503, {}] : respond(sdk, request.url, fields, user);
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer));
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const url = `http://127.0.0.1:${server.address().port}`;
  return {
    url,
    endpoint: `${url}/broadcasting/auth`,
    userEndpoint: `${url}/broadcasting/user-auth`,
    requests,
    /** Whether it answers 503, as while it is being deployed. */
    get isAway() { return state.isAway; },
    set isAway(away) { state.isAway = away; },
    close: () => new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    }),
  };
}

function respond(sdk, url, { socket_id, channel_name }, user) {
  if (url === '/broadcasting/user-auth') {
    if (!user) return [403, { message: 'Unauthenticated.' }];
    const { id, info, watchlist } = user;
    return [200, sdk.authenticateUser(socket_id, { id: String(id), user_info: info, watchlist })];
  }
  // A route whose tokens expire: guests get 401, as from a backend with tokens.
  if (url === '/broadcasting/auth?expires' && !user) return [401, { message: 'Unauthenticated.' }];
  if (!url.startsWith('/broadcasting/auth')) return [404, {}];
  if (channel_name.includes('forbidden')) return [403, { message: 'Forbidden.' }];
  // The application signs with a wrong secret, which the server has to refuse.
  if (channel_name.includes('missigned')) return [200, { auth: `${sdk.config.token.key}:${'0'.repeat(64)}` }];
  if (channel_name.startsWith('presence-')) {
    if (!user) return [403, { message: 'Unauthenticated.' }];
    const member = { user_id: user.id, user_info: user.info };
    return [200, sdk.authorizeChannel(socket_id, channel_name, member)];
  }
  return [200, sdk.authorizeChannel(socket_id, channel_name)];
}
