// The site as it was built.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { Parser } from 'htmlparser2';
import { LANGUAGES, pages, repository } from '../pages.mjs';
import { address, base, branch, version } from '../release.mjs';

const built = fileURLToPath(new URL(`../dist/${version}/`, import.meta.url));
const files = readdirSync(built, { recursive: true });
const html = new Map(files.filter((name) => name.endsWith('.html')).map((name) => [name, read(name)]));

/** What a page links to, what it loads, and its anchors. */
function read(name) {
  const page = { links: [], loads: [], ids: new Set() };
  const parser = new Parser({
    onopentag(tag, { id, href, src, rel }) {
      if (id) page.ids.add(id);
      if (tag === 'a' && href) page.links.push(href);
      if (src) page.loads.push(src);
      if (tag === 'link' && !/alternate|canonical/.test(rel)) page.loads.push(href);
    },
  });
  parser.end(readFileSync(join(built, name), 'utf8'));
  return page;
}

/** The file that a link of a page leads to. */
function fileOf(href, name) {
  const path = decodeURI(href.replace(/[?#].*/, ''));
  if (path === '') return name;
  const file = path.startsWith(base) ? path.slice(base.length) : posix.join(posix.dirname(name), path);
  return file === '' || file.endsWith('/') ? `${file}index.html` : file;
}

const isElsewhere = (href) => /^\w+:|^\/\//.test(href);

test('every link leads to a page and a heading', () => {
  const dead = [];
  for (const [name, { links }] of html) {
    for (const href of links.filter((it) => !isElsewhere(it))) {
      const file = fileOf(href, name);
      const anchor = decodeURIComponent(href.split('#')[1] ?? '');
      if (!files.includes(file)) dead.push(`${name}: ${href}`);
      else if (anchor && !html.get(file)?.ids.has(anchor)) dead.push(`${name}: ${href} (no such heading)`);
    }
  }
  assert.deepEqual(dead, []);
});

test('every link to the repository leads to a file', () => {
  const dead = [];
  const prefix = new RegExp(`^${address}/(?:blob|tree)/(?:${branch}|main)/([^#]*)`);
  for (const [name, { links }] of html) {
    for (const href of links) {
      const path = href.match(prefix)?.[1];
      if (path && !existsSync(repository(decodeURI(path)))) dead.push(`${name}: ${href}`);
    }
  }
  assert.deepEqual(dead, []);
});

test('every page is there in each language', () => {
  for (const { route } of pages()) assert.ok(html.has(`${route}.html`), route);
});

test('the site loads nothing from elsewhere', () => {
  for (const [name, { loads }] of html) {
    for (const href of loads) {
      assert.ok(!isElsewhere(href), `${name} loads ${href}`);
      assert.ok(files.includes(fileOf(href, name)), `${name} loads ${href}`);
    }
  }
  for (const name of files.filter((it) => it.endsWith('.css'))) {
    assert.doesNotMatch(readFileSync(join(built, name), 'utf8'), /url\(["']?(https?:)?\/\//, name);
  }
});

test('each language has a search index of its pages', async () => {
  for (const language of LANGUAGES) {
    const chunk = files.find((name) => name.includes(`@localSearchIndex${language === 'en' ? 'root' : language}.`));
    assert.ok(chunk, `an index for ${language}`);
    const { default: json } = await import(join(built, chunk));
    const found = new Set(Object.values(JSON.parse(json).documentIds).map((id) => fileOf(id, '')));
    const expected = pages().filter((page) => page.language === language && !page.route.endsWith('index'));
    for (const { route } of expected) assert.ok(found.has(`${route}.html`), `${route} in the index for ${language}`);
    assert.equal(found.size, expected.length, 'and no other');
  }
});

test('llms.txt has each English page as Markdown, whose links lead to files', () => {
  const listed = readFileSync(join(built, 'llms.txt'), 'utf8');
  for (const { route } of pages().filter((page) => page.language === 'en' && page.route !== 'index')) {
    assert.ok(listed.includes(`(${route}.md)`), route);
    assert.match(readFileSync(join(built, `${route}.md`), 'utf8'), /^# /m);
  }
  assert.match(listed, /^# Clarim\n\n> \S.*\n/);
  assert.ok(files.includes('llms-full.txt'));
});

test('the folder of versions lists this one', () => {
  const top = fileURLToPath(new URL('../dist/', import.meta.url));
  assert.ok(JSON.parse(readFileSync(join(top, 'versions.json'), 'utf8')).includes(version));
  assert.match(readFileSync(join(top, 'index.html'), 'utf8'), /href="[^"]+\/"/);
});

test('a translation has the headings, tables, figures and code of its page', () => {
  const shape = ({ text }) => {
    const prose = text.replace(/^ *```[^]*?^ *```$/gm, '');
    const count = (pattern, where = prose) => where.match(pattern)?.length ?? 0;
    const rows = prose.match(/^ *\|.*$/gm) ?? [];
    const figures = rows.map((row) => row.replace(/\]\([^)]*\)/g, '').match(/\d[\d.,\s]*/g)?.map((it) => it.replace(/\D/g, '')));
    return { headings: count(/^#+ /gm), figures, code: count(/^ *```/gm, text) / 2 };
  };
  const all = pages();
  const english = all.filter((page) => page.language === 'en');
  for (const page of english) {
    const translation = all.find(({ route }) => route === `pt-BR/${page.route}`);
    assert.deepEqual(shape(translation), shape(page), translation.source);
  }
});
