// The integration suite in pusher-js's npm package, unmodified, with the client built from its sources for
// Node, pages and web workers. With each transport, with and without TLS, it covers subscriptions, events,
// client events and presence; and, without a server, fallback, timeouts and the choice of transports.
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import https from 'node:https';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import jasmine from 'jasmine-core';
import Sdk from 'pusher';
import { Browser } from '../browser/support.mjs';
import { certificate, folder } from '../support/programs.mjs';
import { startServer } from '../support/server.mjs';
import { startBackend } from './pusher-js/backend.mjs';
import { bundle } from './pusher-js/bundle.mjs';

// The specs pause for a minute in all, and those that fail wait for long.
const limit = { timeout: 600_000 };

/** The clusters that the specs name, and the keys that they use there. */
const CLUSTERS = {
  mt1: { appId: '1', key: 'c49a449b916bb4246729', secret: 'mt1-secret' },
  eu: { appId: '2', key: 'cb7d5e50f5669e5c9ae6', secret: 'eu-secret' },
};

/**
 * The transports that the suite tests in each environment, and its number of specs with one of them. In web
 * pages it also has XDomainRequest and SockJS, but only for browsers whose XMLHttpRequest cannot reach other
 * origins, such as Internet Explorer.
 */
const RUNS = {
  node: { transports: ['ws'], specs: 50 },
  worker: { transports: ['ws'], specs: 50 },
  web: { transports: ['ws', 'xhr_streaming', 'xhr_polling'], specs: 58 },
};

const JASMINE = path.join(jasmine.files.path, 'jasmine.js');

let dir, tls, browser, plain, secure;
const bundles = {};

before(async () => {
  dir = await folder();
  tls = await certificate(dir);
  for (const environment of Object.keys(RUNS)) {
    bundles[environment] = dir.path(`${environment}.cjs`);
    await bundle(environment, bundles[environment]);
  }
  plain = await application();
  secure = await application(tls);
  browser = await Browser.launch();
}, limit);

after(async () => {
  browser?.check();
  await browser?.close();
  for (const application of [plain, secure]) await application?.close();
  await dir?.remove();
});

/** A server with these clusters' apps, and a backend for them. */
async function application(tls) {
  const server = await startServer({ apps: Object.values(CLUSTERS), tls });
  const agent = tls && new https.Agent({ ca: await readFile(tls.cert) });
  const sdks = Object.entries(CLUSTERS).map(([name, app]) => (
    [name, new Sdk({ ...app, host: 'localhost', port: server.port, useTLS: Boolean(tls), agent })]));
  const backend = await startBackend(Object.fromEntries(sdks));
  return {
    port: server.port,
    integration: { API_URL: `${backend.origin}/mt1`, API_EU_URL: `${backend.origin}/eu` },
    async close() {
      backend.close();
      await server.dispose();
    },
  };
}

/** What the bundle is given as `globalThis.clarim`. */
const settings = (transport, forceTLS) => ({
  transport,
  forceTLS,
  integration: (forceTLS ? secure : plain).integration,
  options: {
    wsHost: 'localhost', wsPort: plain.port, wssPort: secure.port,
    httpHost: 'localhost', httpPort: plain.port, httpsPort: secure.port,
  },
});

/** Collects the reports of one run. The last one has no name: it is about the whole suite. */
function reports() {
  const all = [];
  let end;
  const ended = new Promise((resolve) => { end = resolve; });
  const report = (one) => {
    all.push(one);
    if (!one.name) end([...all]);
  };
  return { report, crashed: (failure) => report({ status: 'crashed', failures: [failure] }), ended };
}

/** Runs the suite in an environment. */
const RUNNERS = {
  async node(clarim) {
    const program = fileURLToPath(new URL('pusher-js/node.mjs', import.meta.url));
    const child = fork(program, [bundles.node, JSON.stringify(clarim)], {
      env: { ...process.env, NODE_EXTRA_CA_CERTS: tls.cert },
    });
    const { report, crashed, ended } = reports();
    child.on('message', report);
    child.once('close', (code, signal) => crashed(`the process ended: ${code ?? signal}`));
    const all = await ended;
    child.kill();
    return all;
  },
  web: (clarim) => inPage(clarim, async (page) => {
    await page.evaluate((given) => { globalThis.clarim = { ...given, report: globalThis.report }; }, clarim);
    await page.addScriptTag({ path: JASMINE });
    await page.addScriptTag({ path: bundles.web });
  }),
  worker: (clarim) => inPage(clarim, async (page) => {
    const scripts = [
      `globalThis.clarim = { ...${JSON.stringify(clarim)}, report: (one) => postMessage(one) };`,
      await readFile(JASMINE, 'utf8'), await readFile(bundles.worker, 'utf8'),
    ];
    await page.evaluate((scripts) => {
      const worker = new Worker(URL.createObjectURL(new Blob([scripts.join(';')])));
      worker.onmessage = ({ data }) => report(data);
      worker.onerror = ({ message }) => report({ status: 'crashed', failures: [message] });
    }, scripts);
  }),
};

/** Starts the suite in a page of its own. */
async function inPage({ integration }, start) {
  // The specs request scripts that do not exist.
  browser.expect(/the server responded with a status of (404|500)/);
  const context = await browser.context({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  const { report, crashed, ended } = reports();
  page.once('crash', () => crashed('the page crashed'));
  await page.exposeFunction('report', report);
  // Workers authorize channels with XMLHttpRequest, and the backend answers no other origin.
  await page.goto(`${integration.API_URL}/`);
  await start(page);
  const all = await ended;
  await context.close();
  return all;
}

describe('the integration suite of pusher-js', { concurrency: true }, () => {
  for (const [environment, { transports, specs }] of Object.entries(RUNS)) {
    for (const transport of transports) {
      for (const forceTLS of [false, true]) {
        test(`in ${environment}, ${transport}, forceTLS=${forceTLS}`, limit, async (t) => {
          const all = await RUNNERS[environment](settings(transport, forceTLS));
          const whole = all.pop();
          for (const { name, status, failures } of all) {
            await t.test(name, () => assert.equal(status, 'passed', failures.join('\n')));
          }
          assert.deepEqual(whole, { status: 'passed', failures: [] });
          assert.ok(all.length >= specs, `only ${all.length} of ${specs} specs ran`);
        });
      }
    }
  }
});
