// Third-party programs, started with the project's own files from deploy/.
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { until } from './events.mjs';

const run = promisify(execFile);

/** A file below deploy/ with its examples replaced. Each of them must occur. */
export async function deployed(name, replacements) {
  let text = await readFile(fileURLToPath(new URL(`../../deploy/${name}`, import.meta.url)), 'utf8');
  for (const [example, ours] of Object.entries(replacements)) {
    if (!text.includes(example)) throw new Error(`${name} has no ${JSON.stringify(example)}`);
    text = text.replaceAll(example, ours);
  }
  return text;
}

/** A temporary directory. `write` writes a file, and `remove` deletes all of it. */
export async function folder() {
  const dir = await mkdtemp(path.join(tmpdir(), 'clarim-deploy-'));
  return {
    path: (name) => path.join(dir, name),
    write: (name, text) => writeFile(path.join(dir, name), text),
    remove: () => rm(dir, { recursive: true, force: true }),
  };
}

/** Creates a self-signed certificate for localhost. Returns the paths of its files. */
export async function certificate(dir) {
  const [cert, key] = [dir.path('cert.pem'), dir.path('key.pem')];
  await run('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost',
    // By default OpenSSL creates a CA certificate, which rustls refuses for a server.
    '-addext', 'basicConstraints=critical,CA:FALSE', '-keyout', key, '-out', cert,
  ]);
  return { cert, key };
}

/** A program that runs in the foreground. `stop` ends it and waits. */
export function foreground(program, args, options = {}) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => { output += chunk; });
  const ended = new Promise((resolve) => {
    child.once('error', (error) => { output += error.message; resolve(); });
    child.once('close', resolve);
  });
  const end = () => child.kill('SIGKILL');
  process.once('exit', end);
  return {
    output: () => output,
    signal: (name) => child.kill(name),
    async stop() {
      child.kill('SIGTERM');
      const late = setTimeout(end, 15_000);
      await ended;
      clearTimeout(late);
      process.off('exit', end);
    },
  };
}

/** Like `foreground`, once the output matches `line`; `match` is the match. */
export async function foregroundUntil(line, program, args, options) {
  const started = foreground(program, args, options);
  const match = () => line.exec(started.output());
  await until(match, { what: `the start of ${program}` }).catch(async (error) => {
    await started.stop();
    throw new Error(started.output(), { cause: error });
  });
  return { ...started, match: match() };
}

export { run };

/**
 * HAProxy with its file from deploy/, in front of these nodes. `changes` are further replacements in the
 * file.
 */
export async function haproxyWith(dir, port, nodes, { cert, key }, changes = {}) {
  await dir.write('both.pem', await readFile(cert, 'utf8') + await readFile(key, 'utf8'));
  await dir.write('haproxy.cfg', await deployed('haproxy/haproxy.cfg', {
    // More connections would exceed the open files limit of tests.
    'maxconn 40000': 'maxconn 1000',
    'bind :443': `bind 127.0.0.1:${port}`,
    '/etc/haproxy/app.com.pem': dir.path('both.pem'),
    'server node1 127.0.0.1:8080': nodes.map((node, n) => `server node${n} 127.0.0.1:${node.port}`).join('\n    '),
    ...changes,
  }));
  return foreground('haproxy', ['-db', '-f', dir.path('haproxy.cfg')]);
}

/** Caddy with its file from deploy/, for this site and these addresses of nodes. */
export async function caddyWith(dir, site, nodes, changes = {}) {
  const file = await deployed('caddy/Caddyfile', changes);
  await dir.write('Caddyfile', `{\n\tadmin off\n\tauto_https disable_redirects\n}\n${file}`);
  const env = {
    ...process.env, HOME: dir.path(''), XDG_DATA_HOME: dir.path('data'), XDG_CONFIG_HOME: dir.path('config'),
    CLARIM_SITE: site, CLARIM_NODES: nodes.join(' '),
  };
  return foreground('caddy', ['run', '--config', dir.path('Caddyfile'), '--adapter', 'caddyfile'], { env });
}

/**
 * nginx with its file from deploy/, in front of these nodes, and all other files in `dir`. `changes` are
 * further replacements in the file.
 */
export async function nginxWith(dir, nodes, changes) {
  const site = await deployed('nginx/clarim.conf', { 'server_name app.com;': 'server_name localhost;', ...changes });
  // The lines of the example node are repeated for every node.
  const lines = / *server 127\.0\.0\.1:8080 [^;]*;/g;
  await dir.write('site.conf', site.replace(lines, (line) => nodes.map(({ port }) => line.replace('8080', port)).join('\n')));
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  await dir.write('nginx.conf', `daemon off; pid ${dir.path('pid')}; error_log stderr;
    events { worker_connections 1000; }
    http {
      access_log off;
      ${temporary.map((name) => `${name}_temp_path ${dir.path(name)};`).join(' ')}
      include ${dir.path('site.conf')};
    }`);
  return foreground('nginx', ['-e', 'stderr', '-p', dir.path(''), '-c', dir.path('nginx.conf')]);
}
