import { cp } from 'node:fs/promises';
import { slug } from 'github-slugger';
import { groups, pages, repository } from '../pages.mjs';
import { address, base, version } from '../release.mjs';
import { stage } from '../stage.mjs';
import { portuguese, searchInPortuguese } from './portuguese.mjs';

const sidebar = (language) =>
  groups(language).map(({ title, pages }) => ({ text: title, items: pages.map((page) => ({ text: page.title, link: `/${page.route}` })) }));

const nav = (language) => [
  ...['docs/quickstart.md', 'docs/settings.md', 'docs/api.md'].map((file) => {
    const page = pages().find((it) => it.language === language && it.source.startsWith(file.replace(/md$/, '')));
    return { text: page.title, link: `/${page.route}` };
  }),
  { component: 'VersionMenu' },
];

/** VitePress runs it in the page, so that it may use nothing else. */
const sourceOf = ({ frontmatter }) => `https://github.com/clarim/clarim/blob/main/${frontmatter.source}`;

/** tokens.css chooses its dark colours by an attribute, VitePress by a class. */
const tokens = {
  name: 'tokens',
  enforce: 'pre',
  transform: (code, id) => (id.endsWith('/tokens.css') ? code.replace('[data-theme="dark"]', '.dark') : undefined),
};

/** Lets a long name in a table break at its underscores. */
function breakNames({ renderer: { rules }, utils: { escapeHtml } }) {
  rules.code_inline = (tokens, at) => `<code v-pre>${escapeHtml(tokens[at].content).replaceAll('_', '_<wbr>')}</code>`;
}

/** Without accents, so that `configuracao` finds `configuração`. */
const processTerm = (term) => term.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase();

const search = {
  locales: { 'pt-BR': { translations: searchInPortuguese } },
  miniSearch: { options: { processTerm } },
};

/** Shows changes of a page while it is edited. */
const restage = {
  name: 'stage',
  configureServer({ watcher, config: { logger } }) {
    const sources = pages().map(({ source }) => repository(source));
    watcher.add(sources);
    watcher.on('change', (file) => {
      if (!sources.includes(file)) return;
      try {
        stage();
      } catch (error) {
        logger.error(error.message);
      }
    });
  },
};

export default {
  title: 'Clarim',
  base,
  srcDir: 'staged',
  outDir: `dist/${version}`,
  cacheDir: 'node_modules/.vitepress',
  metaChunk: true,
  ignoreDeadLinks: 'localhostLinks',
  head: [['link', { rel: 'icon', href: `${base}mark.svg` }]],
  locales: {
    root: {
      label: 'English',
      lang: 'en',
      description: 'A real-time broadcasting server in Rust that speaks the Pusher protocol',
      themeConfig: { nav: nav('en'), sidebar: sidebar('en') },
    },
    'pt-BR': {
      label: 'Português (Brasil)',
      lang: 'pt-BR',
      description: 'Um servidor de eventos em tempo real, em Rust, que fala o protocolo Pusher',
      themeConfig: { nav: nav('pt-BR'), sidebar: sidebar('pt-BR'), ...portuguese, editLink: { pattern: sourceOf, text: 'Fonte desta página' } },
    },
  },
  themeConfig: {
    logo: '/mark.svg',
    version,
    outline: [2, 3],
    externalLinkIcon: false,
    search: { provider: 'local', options: search },
    socialLinks: [{ icon: 'github', link: address }],
    editLink: { pattern: sourceOf, text: 'Source of this page' },
  },
  markdown: {
    theme: { light: 'github-light-high-contrast', dark: 'github-dark-default' },
    languageAlias: { env: 'dotenv' },
    // The anchors that the same links have in the repository.
    anchor: { slugify: slug },
    config: breakNames,
  },
  vite: { plugins: [tokens, restage] },
  // Each page is also there as Markdown, where llms.txt leads to.
  buildEnd: ({ srcDir, outDir }) => cp(srcDir, outDir, { recursive: true, filter: (file) => !file.includes('/public') && !file.endsWith('index.md') }),
};
