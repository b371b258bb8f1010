// Waits for events and conditions instead of fixed times.

/** Timeout in ms, generous enough for a busy machine. */
export const PATIENCE = 90_000;

/**
 * Resolves with the arguments of the next `event` for which `where` is true. The target is anything with
 * pusher-js's `bind` and `unbind`: client, channel, connection, user, watchlist.
 */
export function once(target, event, { timeout = PATIENCE, where = () => true } = {}) {
  return new Promise((resolve, reject) => {
    const done = () => { clearTimeout(timer); target.unbind(event, listener); };
    const listener = (...args) => {
      if (!where(...args)) return;
      done();
      resolve(args);
    };
    const timer = setTimeout(() => {
      done();
      reject(new Error(`no ${event} ${target.name ? `on ${target.name} ` : ''}within ${timeout} ms`));
    }, timeout);
    target.bind(event, listener);
  });
}

/** Waits for the connection state `name`. */
export async function state(client, name, { timeout = PATIENCE } = {}) {
  if (client.connection.state === name) return;
  await once(client.connection, 'state_change', { timeout, where: ({ current }) => current === name });
}

/** Collects the arguments of a callback. `take` waits for the next one. */
export function inbox() {
  const items = [];
  const waiting = [];
  const push = (item) => {
    const next = waiting.shift();
    if (next) next(item); else items.push(item);
  };
  push.items = items;
  push.take = ({ timeout = PATIENCE } = {}) => new Promise((resolve, reject) => {
    if (items.length) return resolve(items.shift());
    const next = (item) => { clearTimeout(timer); resolve(item); };
    const timer = setTimeout(() => {
      waiting.splice(waiting.indexOf(next), 1);
      reject(new Error(`nothing came within ${timeout} ms`));
    }, timeout);
    waiting.push(next);
  });
  return push;
}

/** Polls until the result is true. */
export async function until(ask, { what = String(ask), timeout = PATIENCE, every = 20 } = {}) {
  const end = Date.now() + timeout;
  for (;;) {
    if (await ask()) return;
    if (Date.now() > end) throw new Error(`not within ${timeout} ms: ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, every); });
  }
}

/** Asserts that something does not happen within `ms`. The only test support that depends on time. */
export async function never(target, event, ms) {
  const seen = [];
  const listener = (data) => seen.push(data);
  target.bind(event, listener);
  await new Promise((resolve) => { setTimeout(resolve, ms); });
  target.unbind(event, listener);
  if (seen.length) throw new Error(`${event} came after all: ${JSON.stringify(seen)}`);
}
