// Bundles the integration suite in pusher-js's npm package, as its webpack configuration does.
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const here = fileURLToPath(new URL('.', import.meta.url));
const packages = path.join(here, '../../node_modules');
const pusher = path.join(packages, 'pusher-js');

/** For each environment, what webpack/ and spec/config set. */
const ENVIRONMENTS = {
  node: { platform: 'node', format: 'cjs', withoutDom: 'node/mock-dom-dependencies.ts', integration: 'node' },
  web: { platform: 'browser', format: 'iife', global: 'window', integration: 'web' },
  worker: {
    platform: 'browser', format: 'iife', global: 'self',
    withoutDom: 'worker/mock-dom-dependencies.js', integration: 'node',
  },
};

/** Writes the suite for `node`, `web` or `worker` to a file. */
export async function bundle(environment, file) {
  const { platform, format, global, withoutDom, integration } = ENVIRONMENTS[environment];
  const helpers = path.join(pusher, 'spec/javascripts/helpers');
  const mock = withoutDom && path.join(helpers, withoutDom);
  const bundled = await rolldown({
    input: path.join(here, 'run.js'),
    platform,
    resolve: {
      extensions: ['.ts', '.js'],
      modules: [
        path.join(pusher, 'src/runtimes', environment), path.join(pusher, 'src'), path.join(pusher, 'src/runtimes'),
        helpers, packages,
      ],
      alias: {
        ...(mock && { 'dom/dependencies': mock, 'dom/dependency_loader': mock }),
        integration: path.join(here, 'integration.cjs'),
        pusher_integration: path.join(here, 'pusher_integration.cjs'),
        'helpers/integration': path.join(helpers, integration, 'integration.js'),
      },
    },
    transform: {
      define: {
        ...(global && { global }),
        VERSION: '"8.8.8"', RUNTIME: `"${environment}"`, CDN_HTTP: '""', CDN_HTTPS: '""', DEPENDENCY_SUFFIX: '""',
      },
    },
    plugins: [virtual({
      testenv: `module.exports = ${JSON.stringify(environment)};`,
      specs: specs(withoutDom ? ['core'] : ['core', 'web/dom']).map((spec) => JSON.stringify(spec))
        .map((spec) => `exports[${spec}] = () => require(${spec});`).join('\n'),
    })],
  });
  // The specs assign to undeclared variables.
  await bundled.write({ file, format, strict: false });
  await bundled.close();
}

/** Modules with the given sources, by name. */
function virtual(sources) {
  const prefix = '\0suite:';
  return {
    name: 'virtual',
    resolveId: (id) => (id in sources ? `${prefix}${id}` : null),
    load: (id) => (id.startsWith(prefix) ? { code: sources[id.slice(prefix.length)], moduleType: 'js' } : null),
  };
}

/** The paths of all specs in these folders, for webpack's require.context. */
function specs(folders) {
  return folders.flatMap((folder) => {
    const whole = path.join(pusher, 'spec/javascripts/integration', folder);
    const names = readdirSync(whole).filter((name) => /_spec(\.js)?$/.test(name));
    return names.sort().map((name) => path.join(whole, name));
  });
}
