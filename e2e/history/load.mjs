// Numbered events for clients of one level, while their network breaks for 2 s again and again.
import { setTimeout as delay } from 'node:timers/promises';

export const BREAKS = 3;
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
    await delay(2_000);
  }
};

/** Starts clients of a level on channels of all kinds. */
async function clients(world, level) {
  const names = [`numbers.${level}`, `private-numbers.${level}`, `presence-numbers.${level}`, `private-encrypted-numbers.${level}`];
  const pages = names.flatMap((name) => [1, 2].map((id) => ({ name, ...world.page({ level, user: { id, info: {} } }) })));
  const heard = await Promise.all(pages.map(async ({ name, gaps, follow }) => ({ name, gaps, ...await follow(name) })));
  const echoes = await Promise.all([1, 2].map(() => world.echo(level, `numbers.${level}`)));
  return { names, all: [...heard, ...echoes.map((one) => ({ name: `Echo on private-numbers.${level}`, ...one }))] };
}

/** Returns what each client of the level has heard, and the last number. */
export async function numbersThroughBreaks(world, level) {
  const { names, all } = await clients(world, level);
  const last = await publishDuring(world, names, () => breaks(world));
  return { all, last };
}
