// Waiting for what is to come, never for time to pass.

/** After so many ms what has not come never will, also on a machine that is busy with something else. */
export const PATIENCE = 30_000;

/**
 * Resolves with the arguments of the next `event` of anything that has pusher-js's `bind` and `unbind`
 * (client, channel, connection, user, watchlist), of which `where` is true.
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

/** The next connection state `name`, or now if it is already so. */
export async function state(client, name, { timeout = PATIENCE } = {}) {
  if (client.connection.state === name) return;
  await once(client.connection, 'state_change', { timeout, where: ({ current }) => current === name });
}

/** Collects what a callback gets; `take` waits for the next of it. */
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

/** Asks again and again until the answer is true. */
export async function until(ask, { what = String(ask), timeout = PATIENCE, every = 20 } = {}) {
  const end = Date.now() + timeout;
  for (;;) {
    if (await ask()) return;
    if (Date.now() > end) throw new Error(`not within ${timeout} ms: ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, every); });
  }
}

/** Watches `ms` long that something never happens: the only place where time itself is what is tested. */
export async function never(target, event, ms) {
  const seen = [];
  const listener = (data) => seen.push(data);
  target.bind(event, listener);
  await new Promise((resolve) => { setTimeout(resolve, ms); });
  target.unbind(event, listener);
  if (seen.length) throw new Error(`${event} came after all: ${JSON.stringify(seen)}`);
}
