// Recovery with @clarim/js: reloads, gaps, excluded senders, presence, positions of the backend.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { historyWorld, until } from './world.mjs';

const LIMIT = { timeout: 120_000 };

/** A tab's `sessionStorage`, and the events of its window. */
const stored = new Map();
const tab = new EventTarget();
globalThis.sessionStorage = { getItem: (key) => stored.get(key) ?? null, setItem: (key, text) => stored.set(key, text) };
globalThis.addEventListener = tab.addEventListener.bind(tab);

let world;
before(async () => {
  world = await historyWorld('private-few.*:5:120s, private-short.*:100:1s, *:100:120s');
}, LIMIT);
afterEach(async () => { await world.server.start(); });
after(() => world?.close());

/** A client that has received event 1. */
async function heardOne(name, more) {
  const page = world.page({ level: 2, user: { id: 1, info: { name: 'Ana' } }, ...more });
  const followed = await page.follow(name);
  await world.publish(name, 1);
  await until(() => followed.heard.length === 1);
  return { ...page, ...followed };
}

test('a reloaded page resumes, without events that excluded it', LIMIT, async () => {
  const { pusher } = await heardOne('private-reload', { storage: true });
  const { socket_id: id } = pusher.connection;
  tab.dispatchEvent(new Event('pagehide'));
  pusher.disconnect();
  await world.publish('private-reload', 2);
  await world.publish('private-reload', 3, { socket_id: id });
  const { heard, gaps } = await (async () => {
    const page = world.page({ level: 2, storage: true });
    return { ...page, ...await page.follow('private-reload') };
  })();
  await world.publish('private-reload', 4);
  await until(() => heard.includes(4));
  assert.deepEqual(heard, [2, 4]);
  assert.deepEqual(gaps, []);
});

test('a page does not get its own event (toOthers) after a reconnection, and others do', LIMIT, async () => {
  const [mine, other] = [await heardOne('private-others'), world.page({ level: 2 })];
  const { heard } = await other.follow('private-others');
  const { socket_id: id } = mine.pusher.connection;
  const mend = world.network.cut();
  await world.publish('private-others', 2, { socket_id: id });
  await world.publish('private-others', 3);
  mend();
  await until(() => mine.heard.includes(3) && heard.includes(3));
  assert.deepEqual(mine.heard, [1, 3]);
  assert.deepEqual(heard, [2, 3]);
});

/** Causes of gaps: what happens to a channel while its client is away. */
const CAUSES = {
  too_many: {
    name: 'private-few.1',
    async happens(name) {
      for (const n of [2, 3, 4, 5, 6, 7]) await world.publish(name, n);
    },
  },
  expired: {
    name: 'private-short.1',
    async happens(name) {
      // Without a subscriber, the whole history would end, some time after its last event.
      await world.page({ wsPort: world.server.port }).follow(name);
      await world.publish(name, 2);
      // Its time is 1 s.
      await delay(1_500);
    },
  },
  epoch: {
    name: 'private-encrypted-forgotten',
    async happens() {
      await world.server.restart();
    },
  },
};

for (const [reason, { name, happens }] of Object.entries(CAUSES)) {
  test(`a gap is reported once, with its reason: ${reason}`, LIMIT, async () => {
    const { channel, heard, gaps } = await heardOne(name);
    const onChannel = [];
    channel.bind('clarim:gap', (gap) => onChannel.push(gap.reason));
    const mend = world.network.cut();
    await happens(name);
    mend();
    await until(() => gaps.length > 0, { timeout: 60_000 });
    await world.publish(name, 8);
    await until(() => heard.includes(8));
    assert.deepEqual(heard, [1, 8], 'there is no partial replay');
    assert.deepEqual(gaps, [{ channel: name, reason }]);
    assert.deepEqual(onChannel, [reason]);
  });
}

test('a position from the future, and an invalid one, are gaps', LIMIT, async () => {
  const { recovery } = await heardOne('private-future');
  const { epoch } = recovery.position('private-future');
  for (const position of [{ epoch, offset: 999 }, { epoch, offset: -1 }, { epoch: 'x', offset: 1 }, { epoch: [], offset: '' }]) {
    const page = world.page({ level: 2 });
    page.recovery.since('private-future', position);
    await page.follow('private-future');
    await until(() => page.gaps.length === 1);
    assert.deepEqual(page.gaps, [{ channel: 'private-future', reason: 'unknown' }]);
    page.pusher.disconnect();
  }
});

test('a page receives all events since a position that was read before its data', LIMIT, async () => {
  const { recovery } = await heardOne('private-first');
  const position = recovery.position('private-first');
  await world.publish('private-first', 2);
  const page = world.page({ level: 2 });
  page.recovery.since('private-first', position);
  const { heard } = await page.follow('private-first');
  await world.publish('private-first', 3);
  await until(() => heard.includes(3));
  assert.deepEqual(heard, [2, 3]);
  assert.deepEqual(page.gaps, []);
});

test('a presence channel resumes with its current members', LIMIT, async () => {
  const { channel, heard } = await heardOne('presence-room');
  const bia = world.page({ level: 2, user: { id: 2, info: { name: 'Bia' } } });
  const mend = world.network.cut();
  await world.publish('presence-room', 2);
  mend();
  await until(() => heard.includes(2));
  await bia.follow('presence-room');
  await until(() => channel.members.count === 2);
  assert.equal(channel.members.me.info.name, 'Ana');
  assert.deepEqual(heard, [1, 2]);
});

test('a channel that was left starts afresh', LIMIT, async () => {
  const { pusher, gaps, follow } = await heardOne('private-left');
  pusher.unsubscribe('private-left');
  await until(async () => {
    const answer = await world.sdk.get({ path: '/channels/private-left' });
    return !(await answer.json()).occupied;
  }, { what: 'the end of the subscription' });
  await world.publish('private-left', 2);
  const { heard } = await follow('private-left');
  await world.publish('private-left', 3);
  await until(() => heard.length > 0);
  assert.deepEqual(heard, [3]);
  assert.deepEqual(gaps, []);
});
