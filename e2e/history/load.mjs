// Numbered events for clients of one level, while their network breaks for 2 s again and again. At length:
// `CLARIM_TEST_CLIENTS=1000 CLARIM_TEST_BREAKS=30 CLARIM_TEST_REST=7000 cargo xtask e2e history/page-id`.
import { setTimeout as delay } from 'node:timers/promises';

export const BREAKS = Number(process.env.CLARIM_TEST_BREAKS ?? 3);
/** Time after a break in ms. */
const REST = Number(process.env.CLARIM_TEST_REST ?? 2_000);
/** A fifth of them on each of four channels, and a fifth with Echo. */
const CLIENTS = Number(process.env.CLARIM_TEST_CLIENTS ?? 10);
export const LIMIT = { timeout: 120_000 + BREAKS * 30_000 };
/** Time between two events in ms. */
const PAUSE = 50;

/** Publishes to the channels until the work is done. Returns the last number. */
async function publishDuring(world, channels, work) {
  let isOver = false;
  let n = 0;
  const publishing = (async () => {
    while (!isOver) {
      n += 1;
      for (const channel of channels) await world.publish(channel, n);
      await delay(PAUSE);
    }
  })();
  await work().finally(() => { isOver = true; });
  await publishing;
  return n;
}

const breaks = async ({ network }) => {
  for (let round = 0; round < BREAKS; round += 1) {
    await delay(1_000);
    await network.cutFor(2_000);
    await delay(REST);
  }
};

/** Starts clients of a level on channels of all kinds. */
async function clients(world, level) {
  const names = [`numbers.${level}`, `private-numbers.${level}`, `presence-numbers.${level}`, `private-encrypted-numbers.${level}`];
  const ids = Array.from({ length: Math.max(1, Math.round(CLIENTS / 5)) }, (_, n) => n + 1);
  const pages = names.flatMap((name) => ids.map((id) => ({ name, ...world.page({ level, user: { id, info: {} } }) })));
  const heard = await Promise.all(pages.map(async ({ name, gaps, follow }) => ({ name, gaps, ...await follow(name) })));
  const echoes = await Promise.all(ids.map(() => world.echo(level, `numbers.${level}`)));
  return { names, all: [...heard, ...echoes.map((one) => ({ name: `Echo on private-numbers.${level}`, ...one }))] };
}

/** Returns what each client of the level has heard, and the last number. */
export async function numbersThroughBreaks(world, level) {
  const { names, all } = await clients(world, level);
  const last = await publishDuring(world, names, () => breaks(world));
  return { all, last };
}
