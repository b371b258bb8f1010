// `node versions.mjs FOLDER`: lists the versions in a folder, in versions.json, and makes index.html lead to the
// newest release. Run it again after a version was added or removed.
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = process.argv[2];
const names = readdirSync(folder, { withFileTypes: true }).filter((it) => it.isDirectory()).map((it) => it.name);
const releases = names.filter((name) => /^\d/.test(name)).sort((a, b) => b.localeCompare(a, 'en', { numeric: true }));
const versions = [...releases, ...names.filter((name) => name === 'next')];
if (!versions.length) throw new Error(`${folder} has no version`);
writeFileSync(join(folder, 'versions.json'), `${JSON.stringify(versions)}\n`);
writeFileSync(
  join(folder, 'index.html'),
  `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Clarim</title>
<script>location.replace('${versions[0]}/' + (navigator.language.startsWith('pt') ? 'pt-BR/' : ''))</script>
<a href="${versions[0]}/">Clarim</a>
</html>
`,
);
