// The Debian and the RPM package in a minimal system: install, serve, upgrade, remove.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import {
  cleanRoot, cpu, file, firstEvent, limit, needsRoot, runInside, startInside, target, version,
} from './installed.mjs';
import { freePort } from '../support/ports.mjs';
import { folder, run } from '../support/programs.mjs';

const arch = { x86_64: 'amd64', aarch64: 'arm64' }[cpu];
const skip = needsRoot || (!existsSync(cleanRoot) && 'cargo xtask setup could not download a system');
const settings = '/etc/clarim/clarim.toml';

/** Runs the service as systemd does: the unit's command, user, variables and folder. */
async function service(root) {
  const unit = await readFile(root.path('usr/lib/systemd/system/clarim.service'), 'utf8');
  const all = (name) => [...unit.matchAll(new RegExp(`^${name}=(.*)$`, 'gm'))].map(([, value]) => value.replaceAll('%S', '/var/lib'));
  const [user] = all('User');
  const [variables] = all('EnvironmentFile');
  const script = `set -a; . ${variables}; ${all('Environment').join('; ')}; cd ${all('WorkingDirectory')[0]} && `
    + `exec setpriv --reuid=${user} --regid=${user} --init-groups ${all('ExecStart')[0]}`;
  return startInside(root.path(''), ['sh', '-c', script]);
}

/** The app that the package has created. */
async function app(root) {
  const text = await readFile(root.path('etc/clarim/clarim.env'), 'utf8');
  const value = (name) => new RegExp(`^REVERB_APP_${name}=(.+)$`, 'm').exec(text)[1];
  return { appId: value('ID'), key: value('KEY'), secret: value('SECRET') };
}

async function hears(root, port) {
  const since = Date.now();
  const server = await service(root);
  try {
    return await firstEvent(server, { port, since, ...await app(root) });
  } finally {
    await server.stop();
  }
}

async function usePort(root) {
  const port = await freePort();
  const text = await readFile(root.path(settings), 'utf8');
  assert.match(text, /^host = "127.0.0.1"$/m, 'only this machine by default');
  await writeFile(root.path(settings), text.replace('port = 8080', `port = ${port}`));
  return port;
}

async function checkFiles(root) {
  const mode = async (name) => ((await stat(root.path(name))).mode & 0o777).toString(8);
  assert.equal(await mode(settings), '640');
  assert.equal(await mode('etc/clarim/clarim.env'), '640');
  assert.equal(await mode('var/lib/clarim'), '750');
  for (const name of ['man/man1/clarim-restart.1.gz', 'bash-completion/completions/clarim', 'fish/vendor_completions.d/clarim.fish']) {
    assert.equal(await mode(`usr/share/${name}`), '644');
  }
  const { stdout: user } = await runInside(root.path(''), ['id', '-u', 'clarim']);
  assert.equal((await stat(root.path('var/lib/clarim'))).uid, Number(user));
  assert.equal((await stat(root.path(settings))).uid, 0);
  assert.equal((await stat(root.path(settings))).gid, Number((await runInside(root.path(''), ['id', '-g', 'clarim'])).stdout));
}

/** A minimal system in a folder. */
async function minimal() {
  const root = await folder();
  await run('tar', ['-xf', cleanRoot, '-C', root.path(''), '--exclude=./dev/*']);
  return root;
}

describe('the Debian package', { skip }, () => {
  let root, port;
  const dpkg = (...args) => runInside(root.path(''), ['dpkg', ...args]);

  before(async () => { root = await minimal(); }, limit);
  after(() => root?.remove());

  test('installs an older version', limit, async () => {
    await run('cp', [file(`clarim_${version}-1_${arch}.deb`), root.path('root/new.deb')]);
    const old = root.path('root/old');
    await run('dpkg-deb', ['-R', root.path('root/new.deb'), old]);
    const control = await readFile(`${old}/DEBIAN/control`, 'utf8');
    await writeFile(`${old}/DEBIAN/control`, control.replace(/^Version: .*/m, 'Version: 0.0.1-1'));
    await run('dpkg-deb', ['-Zgzip', '-z1', '--root-owner-group', '-b', old, root.path('root/old.deb')]);
    await rm(old, { recursive: true });
    await dpkg('-i', 'old.deb');
    await checkFiles(root);
  });

  test('its service serves clients', limit, async (t) => {
    port = await usePort(root);
    t.diagnostic(`start to first event: ${await hears(root, port)} s`);
  });

  test('an upgrade keeps settings, app and state', limit, async () => {
    const before = await app(root);
    await writeFile(root.path('var/lib/clarim/kept'), '');
    await dpkg('-i', 'new.deb');
    assert.match((await dpkg('-s', 'clarim')).stdout, new RegExp(`^Version: ${version}-1$`, 'm'));
    assert.deepEqual(await app(root), before);
    assert.ok(existsSync(root.path('var/lib/clarim/kept')));
    await checkFiles(root);
    await hears(root, port);
  });

  test('enables the service, but not one that was disabled', limit, async () => {
    const link = root.path('etc/systemd/system/multi-user.target.wants/clarim.service');
    const isEnabled = () => run('test', ['-L', link]).then(() => true, () => false);
    assert.ok(await isEnabled());
    await rm(link);
    await dpkg('-i', 'new.deb');
    assert.ok(!await isEnabled());
  });

  test('removing keeps the settings, purging leaves nothing', limit, async () => {
    await dpkg('-r', 'clarim');
    assert.ok(!existsSync(root.path('usr/bin/clarim')));
    for (const name of [settings, 'etc/clarim/clarim.env', 'var/lib/clarim/kept']) assert.ok(existsSync(root.path(name)), name);
    await dpkg('-P', 'clarim');
    const { stdout: left } = await runInside(root.path(''), ['find', '/etc', '/usr', '/var', '-name', '*clarim*']);
    assert.equal(left, '');
  });
});

describe('the RPM package', { skip }, () => {
  let root, port;
  const rpm = (...args) => run('rpm', ['--root', root.path(''), '--dbpath', '/var/lib/rpm', ...args]);
  // The database has no package of this Debian system.
  const install = (name) => rpm('-U', '--nodeps', name);

  before(async () => {
    root = await minimal();
    await mkdir(root.path('var/lib/rpm'), { recursive: true });
  }, limit);
  after(() => root?.remove());

  test('installs an older version, whose service serves clients', limit, async (t) => {
    const tree = file(`../target/dist/tree-${target}`);
    const defines = [`_topdir ${root.path('root/rpm')}`, 'clarim_version 0.0.1', `clarim_tree ${tree}`, '_binary_payload w1.gzdio'];
    await run('rpmbuild', ['-bb', '--quiet', ...defines.flatMap((it) => ['--define', it]), file('../packaging/rpm/clarim.spec')]);
    await install(root.path(`root/rpm/RPMS/${cpu}/clarim-0.0.1-1.${cpu}.rpm`));
    await checkFiles(root);
    port = await usePort(root);
    t.diagnostic(`start to first event: ${await hears(root, port)} s`);
  });

  test('an upgrade keeps settings and app', limit, async () => {
    const before = await app(root);
    await install(file(`clarim-${version}-1.${cpu}.rpm`));
    assert.match((await rpm('-q', 'clarim')).stdout, new RegExp(`^clarim-${version}-1`));
    assert.deepEqual(await app(root), before);
    await hears(root, port);
  });

  test('removing keeps changed settings and the app', limit, async () => {
    await rpm('-e', 'clarim');
    assert.ok(!existsSync(root.path('usr/bin/clarim')));
    assert.ok(existsSync(root.path(`${settings}.rpmsave`)));
    assert.ok(existsSync(root.path('etc/clarim/clarim.env')));
  });
});

test("systemd's own checks accept the packages' unit", limit, async () => {
  const dir = await folder();
  const tree = file(`../target/dist/tree-${target}`);
  const unit = await readFile(`${tree}/usr/lib/systemd/system/clarim.service`, 'utf8');
  await dir.write('clarim.service', unit.replace('/usr/bin/clarim', `${tree}/usr/bin/clarim`));
  const { stdout, stderr } = await run('systemd-analyze', ['verify', dir.path('clarim.service')]);
  assert.equal(stdout + stderr, '');
  await dir.remove();
});
