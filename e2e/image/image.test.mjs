// The Dockerfile, as far as possible without a container engine: the image's file system, user and commands
// are the real ones.
import assert from 'node:assert/strict';
import { mkdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { sdkFor, world } from '../support/clients.mjs';
import { once, until } from '../support/events.mjs';
import { freePort } from '../support/ports.mjs';
import { folder, foreground, run } from '../support/programs.mjs';
import { app } from '../support/server.mjs';

const limit = { timeout: 300_000 };
const deploy = (name) => readFile(new URL(`../../deploy/${name}`, import.meta.url), 'utf8');
const credentials = { REVERB_APP_ID: app.appId, REVERB_APP_KEY: app.key, REVERB_APP_SECRET: app.secret };
const answers = (port, where) => fetch(`http://127.0.0.1:${port}${where}`).then(({ status }) => status, () => undefined);

describe('the image', () => {
  let dir, of, target, root;

  // Like the stages, without the steps that `cargo xtask setup` has done.
  before(async () => {
    const file = await deploy('docker/Dockerfile');
    const lines = file.replaceAll('\\\n', ' ').split('\n').filter((line) => /^[A-Z]/.test(line));
    of = (word) => lines.filter((line) => line.startsWith(`${word} `)).map((line) => line.slice(word.length + 1));
    const [installs, builds, keeps, ...others] = of('RUN');
    assert.match(installs, /musl-tools && rustup target add/);
    assert.deepEqual(others, []);
    const copied = of('COPY').filter((line) => line.startsWith('--from=build'));
    assert.equal(copied.length, 1, 'one file is in the image');
    const [, from, to] = copied[0].split(' ');
    dir = await folder();
    root = dir.path('root');
    target = path.join(root, to);
    await mkdir(path.dirname(target), { recursive: true });
    assert.ok(keeps.endsWith(` ${from}`));
    const cwd = fileURLToPath(new URL('../..', import.meta.url));
    await run('sh', ['-c', builds], { cwd });
    await run('sh', ['-c', keeps.slice(0, -from.length) + target], { cwd });
  }, { timeout: 1_800_000 });
  after(() => dir.remove());

  test('is one small static program', limit, async () => {
    const { stdout } = await run('readelf', ['--program-headers', '--dynamic', '--wide', target]);
    assert.doesNotMatch(stdout, /INTERP|NEEDED/, 'no loader and no library');
    assert.match(of('FROM').at(-1), /distroless\/static.*:nonroot$/);
    const { size } = await stat(target);
    // With its symbols, which name the functions in backtraces.
    assert.ok(size < 21 * 2 ** 20, `${size} bytes`);
  });

  // Only root may change the root directory and the user.
  test('its unprivileged user serves clients', { ...limit, skip: process.getuid() !== 0 }, async () => {
    const [home] = of('WORKDIR').slice(-1);
    await mkdir(path.join(root, home), { recursive: true });
    await run('chown', ['65532:65532', path.join(root, home)]);
    const w = await world();
    const port = await freePort();
    const env = Object.fromEntries(of('ENV').map((line) => line.split('=')));
    const entry = JSON.parse(of('ENTRYPOINT')[0]);
    const inside = (args) => ['--userspec=65532:65532', root, ...entry.slice(0, 1), ...args];
    const options = { env: { ...env, ...credentials, CLARIM_SERVER_PORT: String(port), CLARIM_STATE_DIR: home }, cwd: '/' };
    const server = foreground('/usr/sbin/chroot', inside(JSON.parse(of('CMD')[0])), options);
    try {
      await until(async () => (await answers(port, '/up')) === 200, { what: 'it answers' })
        .catch((error) => { throw new Error(`${error.message}\n${server.output()}`); });
      const client = await w.connected({ wsPort: port });
      const channel = client.subscribe('news');
      await once(channel, 'pusher:subscription_succeeded');
      const heard = once(channel, 'e');
      await sdkFor({ ...app, port }).trigger('news', 'e', { from: 'the image' });
      assert.deepEqual((await heard)[0], { from: 'the image' });
      const [health] = of('HEALTHCHECK').map((line) => JSON.parse(line.slice(line.indexOf('['))));
      const { stdout: stats } = await run('/usr/sbin/chroot', inside(health.slice(1)), options);
      assert.equal(JSON.parse(stats).connections, 1);
    } finally {
      await w.close();
      await server.stop();
    }
  });
});
