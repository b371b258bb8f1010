// docs/errors.md names the codes, texts and statuses that are in the sources.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { STATUS_CODES } from 'node:http';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const sources = (folder) => readdirSync(path.join(root, folder), { recursive: true })
  .filter((name) => name.endsWith('.rs'))
  .map((name) => readFileSync(path.join(root, folder, name), 'utf8'));
const sorted = (values) => [...new Set(values)].map(Number).toSorted((a, b) => a - b);
const all = sources('crates').join('\n');

for (const page of ['errors.md', 'errors.pt-BR.md']) {
  const text = readFileSync(path.join(root, 'docs', page), 'utf8');
  const cells = [...text.matchAll(/^\|(.*)\|$/gm)].map(([, row]) => row.split('|').map((cell) => cell.trim()));

  test(`${page} has every code of the protocol`, () => {
    const codes = readFileSync(path.join(root, 'crates/clarim-protocol/src/code.rs'), 'utf8').matchAll(/Self\((4\d{3})\)/g);
    const named = cells.flatMap((row) => row.slice(0, 2)).filter((cell) => /^4\d{3}$/.test(cell));
    assert.deepEqual(sorted(named), sorted(Array.from(codes, ([, code]) => code)));
  });

  test(`${page} quotes texts that the server sends`, () => {
    const quoted = cells.flatMap(([, cell]) => [...(cell ?? '').matchAll(/`([A-Z][^`]+ [^`]+)`/g)]).map(([, it]) => it.replace(' …', ''));
    assert.ok(quoted.length > 12);
    for (const it of quoted) assert.ok(all.includes(`"${it}`), it);
  });

  test(`${page} has every status of an error`, () => {
    const numbers = Object.fromEntries(Object.entries(STATUS_CODES).map(([n, name]) => [name.toUpperCase().replaceAll(/[ -]/g, '_'), n]));
    const names = [...sources('crates/clarim-server/src/http'), ...sources('crates/clarim-server/src/inspector')]
      .flatMap((source) => [...source.matchAll(/StatusCode::([A-Z_]+)/g)]).map(([, name]) => name);
    const errors = names.map((name) => numbers[name] ?? assert.fail(name)).filter((n) => n >= 400);
    assert.deepEqual(sorted(cells.map(([cell]) => cell).filter((cell) => /^[45]\d\d$/.test(cell))), sorted(errors));
  });
}
