// The pages of the site, in the order of the navigation, and where each file of the repository becomes a page.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const LANGUAGES = ['en', 'pt-BR'];

/** A path in the repository. */
export const repository = (path = '') => fileURLToPath(new URL(`../${path}`, import.meta.url));

const GROUPS = [
  {
    en: 'Getting started',
    'pt-BR': 'Primeiros passos',
    pages: ['README.md', 'docs/install.md', 'docs/quickstart.md', 'docs/migration.md', 'docs/tutorial.md', 'apps/demo/README.md'],
  },
  {
    en: 'Front end',
    'pt-BR': 'Front-end',
    pages: ['packages/vue/README.md', 'packages/react/README.md', 'packages/js/README.md', 'packages/laravel/README.md'],
  },
  {
    en: 'Operation',
    'pt-BR': 'Operação',
    pages: [
      'docs/deploy.md', 'docs/security.md', 'docs/upgrades.md', 'docs/scaling.md', 'docs/history.md', 'docs/inspector.md',
      'docs/doctor.md',
    ],
  },
  {
    en: 'Reference',
    'pt-BR': 'Referência',
    pages: ['docs/settings.md', 'docs/api.md', 'docs/errors.md', 'docs/performance.md', 'docs/glossary.md', 'docs/faq.md'],
  },
];

// A page that no group names comes last.
const named = GROUPS.flatMap((group) => group.pages);
const inDocs = readdirSync(repository('docs')).filter((name) => /(?<!\.pt-BR)\.md$/.test(name)).map((name) => `docs/${name}`);
GROUPS.at(-1).pages.push(...inDocs.filter((file) => !named.includes(file)));

/** Pages whose route does not follow from their file. */
const ROUTES = {
  'site/home.md': 'index',
  'README.md': 'overview',
  'apps/demo/README.md': 'demo',
  'packages/js/README.md': 'packages/js',
  'packages/laravel/README.md': 'packages/laravel',
  'packages/vue/README.md': 'packages/vue',
  'packages/react/README.md': 'packages/react',
};

/** Pages whose first heading is not their name in the navigation. */
const TITLES = {
  'README.md': { en: 'Overview', 'pt-BR': 'Visão geral' },
  'docs/tutorial.md': { en: 'Tutorial', 'pt-BR': 'Tutorial' },
  'apps/demo/README.md': { en: 'Demo application', 'pt-BR': 'Aplicação de demonstração' },
};

/** Links between languages, which the site has in its menu. */
export const TRANSLATION = /\s?\*\(?\[(Leia (isto )?em português|Read (this )?in English)\.\]\([^)]*\)\)?\*/g;

/** The groups of the navigation: `{ title, pages }`, each page as `{ source, route, title, summary }`. */
export const groups = (language) =>
  GROUPS.map((group) => ({ title: group[language], pages: group.pages.map((file) => page(file, language)) }));

/** Every page in every language. */
export function pages() {
  const files = ['site/home.md', ...GROUPS.flatMap((group) => group.pages)];
  return LANGUAGES.flatMap((language) => files.map((file) => page(file, language)));
}

function page(file, language) {
  const english = ROUTES[file] ?? file.replace(/^docs\/|\.md$/g, '');
  const [source, route] = language === 'en' ? [file, english] : [file.replace(/md$/, `${language}.md`), `${language}/${english}`];
  if (!existsSync(repository(source))) throw new Error(`${file} has no translation: write ${source}`);
  const text = readFileSync(repository(source), 'utf8');
  const title = TITLES[file]?.[language] ?? text.match(/^# (.*)/m)?.[1];
  const paragraphs = text.replace(TRANSLATION, '').replace(/^---\n.*?\n---\n/s, '').split(/\n\s*\n/);
  const summary = paragraphs.find((it) => /^\*?\*?[\p{L}`[]/u.test(it))?.replaceAll('\n', ' ').replace(/\[([^\]]*)\]\([^)]*\)/g, '$1');
  return { source, route, language, title, summary, text };
}
