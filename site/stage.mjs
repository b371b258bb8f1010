// Copies the pages into the folder `staged`, each to its route. Links to pages become links between routes, links to
// other files become addresses in the repository.
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TRANSLATION, groups, pages, repository } from './pages.mjs';
import { address, branch } from './release.mjs';

export const STAGED = fileURLToPath(new URL('staged/', import.meta.url));

/** Links to files that do not exist. */
const dead = [];
const LINK = /(!?)(\[(?:[^\][]|\[[^\]]*\])*\])\(([^)\s]+)\)/g;

export function stage() {
  dead.length = 0;
  const all = pages();
  const routes = new Map(all.map(({ source, route }) => [source, route]));
  for (const page of all) {
    const text = outsideCode(page.text, (prose) =>
      prose.replace(TRANSLATION, '').replace(LINK, (_, image, label, href) => `${image}${label}(${image ? picture(page, href) : link(page, href, routes)})`),
    );
    write(`${page.route}.md`, text.startsWith('---\n') ? text : `---\nsource: ${page.source}\n---\n${text}`);
  }
  if (dead.length) throw new Error(dead.join('\n'));
  copy('crates/clarim-server/design/mark.svg', 'public/mark.svg');
  write('public/llms.txt', index());
  write('public/llms-full.txt', all.filter(({ language, route }) => language === 'en' && route !== 'index').map(({ source, text }) => `<!-- ${source} -->\n\n${text}`).join('\n\n'));
}

function link({ source, route }, href, routes) {
  if (/^(\w+:|#)/.test(href)) return href;
  const [path, anchor] = href.split(/(?=#)/);
  const target = existing(source, path);
  if (routes.has(target)) return `${relative(route, `${routes.get(target)}.md`)}${anchor ?? ''}`;
  const kind = statSync(repository(target), { throwIfNoEntry: false })?.isDirectory() ? 'tree' : 'blob';
  return `${address}/${kind}/${branch}/${target}${anchor ?? ''}`;
}

function picture({ source, route }, href) {
  const from = existing(source, href);
  copy(from, `images/${posix.basename(from)}`);
  return relative(route, `images/${posix.basename(from)}`);
}

function existing(source, path) {
  const target = posix.join(posix.dirname(source), decodeURI(path));
  if (!existsSync(repository(target))) dead.push(`${source}: ${path} does not exist`);
  return target;
}

const relative = (route, to) => {
  const path = posix.relative(posix.dirname(route), to);
  return path.startsWith('.') ? path : `./${path}`;
};

/** Changes a text except for its blocks of code. */
function outsideCode(text, change) {
  return text.split(/^(```[^]*?^```)$/m).map((part, n) => (n % 2 ? part : change(part))).join('');
}

/** The list of pages for language models, as llmstxt.org describes it. */
function index() {
  const [home] = groups('en').flatMap((group) => group.pages);
  const section = ({ title, pages }) => `## ${title}\n\n${pages.map((it) => `- [${it.title}](${it.route}.md): ${it.summary}`).join('\n')}`;
  return `# Clarim\n\n> ${home.summary}\n\n[All pages in one file](llms-full.txt).\n\n${groups('en').map(section).join('\n\n')}\n`;
}

function write(name, text) {
  // A preview reloads each file that is written.
  if (existsSync(STAGED + name) && readFileSync(STAGED + name, 'utf8') === text) return;
  mkdirSync(dirname(STAGED + name), { recursive: true });
  writeFileSync(STAGED + name, text);
}

function copy(from, to) {
  mkdirSync(dirname(STAGED + to), { recursive: true });
  copyFileSync(repository(from), STAGED + to);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  rmSync(STAGED, { recursive: true, force: true });
  stage();
}
