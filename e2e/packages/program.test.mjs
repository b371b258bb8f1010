// The archive, install.sh, the npm packages, the Python wheel and the image: from nothing to the first event.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import {
  busyboxRoot, developmentApp, file, firstEvent, inside, limit, needsRoot, runInside, serve, startInside, target, version,
} from './installed.mjs';
import { until } from '../support/events.mjs';
import { freePort } from '../support/ports.mjs';
import { folder, foreground, run } from '../support/programs.mjs';

const archive = `clarim-${target}.tar.gz`;

/** Starts `clarim start` without any settings, and waits for a first event. */
async function newcomer(t, root, command, { binds, since = Date.now(), home = 'root' } = {}) {
  const port = await freePort();
  const server = startInside(root.path(''), [...command, 'start', '--port', String(port)], binds);
  try {
    const app = await developmentApp(root.path(home))
      .catch((error) => { throw new Error(`${error.message}\n${server.output()}`); });
    t.diagnostic(`nothing to first event: ${await firstEvent(server, { port, since, ...app })} s`);
    await hearsItself(root, ['env', `CLARIM_SERVER_PORT=${port}`, ...command], binds);
  } finally {
    await server.stop();
  }
}

/** The README's second line. The event is sent again, because the first may precede the subscription. */
async function hearsItself(root, command, binds) {
  const tail = startInside(root.path(''), [...command, 'tail', 'news'], binds);
  try {
    await until(async () => {
      await runInside(root.path(''), [...command, 'send', 'news', 'hello', '{}'], binds);
      return tail.output().includes('hello {}');
    }, { what: '`clarim tail` prints what `clarim send` sends' })
      .catch((error) => { throw new Error(`${error.message}\n${tail.output()}`); });
  } finally {
    await tail.stop();
  }
}

describe('without a package manager', () => {
  let root, releases;
  const changed = new Map();
  const script = (...args) => ['env', `CLARIM_RELEASES=${releases.url}`, 'sh', '/root/install.sh', ...args];

  before(async () => {
    root = await folder();
    await busyboxRoot(root);
    await copyFile(file('install.sh'), root.path('root/install.sh'));
    releases = await serve(async (url) => {
      const [, folder, name] = /^\/(latest\/download|download\/v[^/]+)\/([^/]+)$/.exec(url) ?? [];
      if (!folder || (folder !== 'latest/download' && folder !== `download/v${version}`)) return undefined;
      return changed.get(name) ?? readFile(file(name));
    });
  });
  after(async () => {
    releases?.close();
    await root.remove();
  });

  test('the archive has a program that runs', limit, async (t) => {
    const since = Date.now();
    await run('cp', [file(archive), root.path('root/clarim.tar.gz')]);
    await runInside(root.path(''), ['tar', '-xzf', 'clarim.tar.gz']);
    const unpacked = `/root/clarim-${target}`;
    for (const name of ['LICENSE-MIT', 'LICENSE-APACHE', 'README.md', 'deploy/nginx/clarim.conf',
      'completions/_clarim', 'man/clarim-start.1']) {
      assert.ok(existsSync(root.path(`${unpacked}/${name}`)), name);
    }
    await newcomer(t, root, [`${unpacked}/clarim`], { since });
    await rm(root.path('root/.clarim'), { recursive: true });
  });

  test('install.sh installs it', limit, async (t) => {
    const since = Date.now();
    const { stdout } = await runInside(root.path(''), script());
    assert.match(stdout, new RegExp(`installed clarim ${version} as /usr/local/bin/clarim\nstart it: clarim start`));
    await newcomer(t, root, ['clarim'], { since });
  });

  test('install.sh installs a version below a prefix', limit, async () => {
    await runInside(root.path(''), script('--version', `v${version}`, '--prefix=/opt/clarim'));
    const { stdout } = await runInside(root.path(''), ['/opt/clarim/bin/clarim', '--version']);
    assert.equal(stdout, `clarim ${version}\n`);
    await assert.rejects(runInside(root.path(''), script('--version=0.0.1')), /cannot download .*\/download\/v0\.0\.1\/SHA256SUMS/);
  });

  test('install.sh installs nothing that has another checksum', limit, async () => {
    const bytes = await readFile(file(archive));
    bytes[bytes.length - 20] ^= 1;
    changed.set(archive, bytes);
    await assert.rejects(runInside(root.path(''), script('--prefix', '/opt/other')), /the checksum of .* instead of .*; nothing was installed/);
    assert.ok(!existsSync(root.path('opt/other')));
    changed.set('SHA256SUMS', 'nothing\n');
    await assert.rejects(runInside(root.path(''), script('--prefix', '/opt/other')), /SHA256SUMS has no/);
    changed.clear();
  });
});

test('npx clarim start', limit, async (t) => {
  const root = await folder();
  await mkdir(root.path('root'));
  // Stands in for the registry.
  const packed = new Map();
  for (const name of (await readdir(file('npm'))).filter((it) => it.startsWith('clarim-') && !/-(js|vue|react)-/.test(it))) {
    const bytes = await readFile(file(`npm/${name}`));
    const { stdout } = await run('tar', ['-xzOf', file(`npm/${name}`), 'package/package.json']);
    packed.set(name, { bytes, manifest: JSON.parse(stdout) });
  }
  const registry = await serve(async (url, self) => {
    if (packed.has(url.slice(1))) return packed.get(url.slice(1)).bytes;
    const [name, { bytes, manifest } = {}] = [...packed].find(([, it]) => `/${it.manifest.name}` === url) ?? [];
    if (!name) return undefined;
    const integrity = `sha512-${createHash('sha512').update(bytes).digest('base64')}`;
    const versions = { [version]: { ...manifest, dist: { tarball: `${self}/${name}`, integrity } } };
    return JSON.stringify({ name: manifest.name, 'dist-tags': { latest: version }, versions });
  });
  // This system's Node, and nothing of the user.
  const system = ['/bin', '/sbin', '/lib', '/lib64'].flatMap((it) => (existsSync(it) ? ['--ro-bind', it, it] : []));
  const binds = ['--ro-bind', '/usr', '/usr', ...system, '--tmpfs', '/tmp'];
  const npx = ['env', `npm_config_registry=${registry.url}`, 'npm_config_update_notifier=false', 'npx', '--yes', 'clarim'];
  try {
    await assert.rejects(runInside(root.path(''), ['sh', '-c', 'command -v cargo'], binds));
    await newcomer(t, root, npx, { binds });
    await assert.rejects(run('bwrap', inside(root.path(''), [...npx, 'no-such-command'], binds)), { code: 2 });
  } finally {
    registry.close();
    await root.remove();
  }
});

test('a Python environment gets the program from the wheel', limit, async (t) => {
  const root = await folder();
  try {
    await busyboxRoot(root);
    const venv = root.path('venv');
    await run('python3', ['-m', 'venv', venv]);
    const since = Date.now();
    const pip = (...args) => run(`${venv}/bin/python`, ['-m', 'pip', '--disable-pip-version-check', ...args]);
    await pip('install', '-q', '--no-index', '--find-links', file('python'), 'clarim');
    await newcomer(t, root, ['/venv/bin/clarim'], { since });
    await pip('check');
    await pip('uninstall', '-qy', 'clarim');
    assert.ok(!existsSync(`${venv}/bin/clarim`));
  } finally {
    await root.remove();
  }
});

test('the image serves clients as an unprivileged user, and is healthy', { ...limit, skip: needsRoot }, async (t) => {
  const dir = await folder();
  try {
    const since = Date.now();
    await mkdir(dir.path('layout'));
    await run('tar', ['-xf', file('clarim-image.tar'), '-C', dir.path('layout')]);
    const settings = await chooseOurs(dir.path('layout'));
    await run('umoci', ['unpack', '--image', `${dir.path('layout')}:ours`, dir.path('bundle')]);
    const { process: { args, cwd, env, user } } = JSON.parse(await readFile(dir.path('bundle/config.json'), 'utf8'));
    assert.notEqual(user.uid, 0);
    const port = await freePort();
    const app = { appId: '1', key: 'image-key', secret: 'image-secret' };
    const variables = {
      ...Object.fromEntries(env.map((it) => it.split('='))), CLARIM_SERVER_PORT: String(port), CLARIM_STATE_DIR: cwd,
      REVERB_APP_ID: app.appId, REVERB_APP_KEY: app.key, REVERB_APP_SECRET: app.secret,
    };
    const chroot = (command) => ['/usr/sbin/chroot', [`--userspec=${user.uid}:${user.gid}`, dir.path('bundle/rootfs'), ...command], { env: variables, cwd: '/' }];
    const server = foreground(...chroot(args));
    try {
      t.diagnostic(`nothing to first event: ${await firstEvent(server, { port, since, ...app })} s`);
      const [, ...health] = settings.Healthcheck.Test;
      assert.equal(JSON.parse((await run(...chroot(health))).stdout).channels?.length ?? 0, 0);
    } finally {
      await server.stop();
    }
  } finally {
    await dir.remove();
  }
});

/** Tags the image for this machine in a layout as `ours`, as a container engine chooses it. Returns its settings. */
async function chooseOurs(layout) {
  const blob = async ({ digest }) => JSON.parse(await readFile(`${layout}/blobs/${digest.replace(':', '/')}`, 'utf8'));
  const [tagged] = JSON.parse(await readFile(`${layout}/index.json`, 'utf8')).manifests;
  assert.equal(tagged.annotations['org.opencontainers.image.ref.name'], version);
  const { manifests } = await blob(tagged);
  const ours = manifests.find(({ platform }) => platform.architecture === { x64: 'amd64', arm64: 'arm64' }[process.arch]);
  ours.annotations = { 'org.opencontainers.image.ref.name': 'ours' };
  await writeFile(`${layout}/index.json`, JSON.stringify({ schemaVersion: 2, manifests: [ours] }));
  return (await blob((await blob(ours)).config)).config;
}
