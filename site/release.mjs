// Which release the pages describe.
import { readFileSync } from 'node:fs';
import { repository } from './pages.mjs';

const cargo = readFileSync(repository('Cargo.toml'), 'utf8');
const changes = readFileSync(repository('CHANGELOG.md'), 'utf8').split(/^## /m);
const unreleased = changes.find((section) => section.startsWith('[Unreleased]')) ?? '';
const isReleased = unreleased.split('\n').slice(1).join('').trim() === '';
const number = cargo.match(/^version = "(.*)"$/m)[1];

/** The release's version, or `next` between releases. It is the name of the site's folder. */
export const version = isReleased ? number : 'next';

/** The address of a file or folder of the repository. */
export const address = `${cargo.match(/^repository = "(.*)"$/m)[1]}`;
export const branch = isReleased ? `v${number}` : 'main';

/** The site's path on its server. `SITE_BASE` names the folder that has the versions. */
export const base = `${(process.env.SITE_BASE ?? '/').replace(/\/*$/, '/')}${version}/`;
