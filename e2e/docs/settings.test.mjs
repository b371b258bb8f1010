// Starts a server with each block of settings on a page, and checks that the settings named in its tables exist.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../support/events.mjs';
import { freePort } from '../support/ports.mjs';
import { folder, foreground, run } from '../support/programs.mjs';
import { binary } from '../support/server.mjs';
import { codeBlocks, text } from './page.mjs';

/** What a project of laravel-websockets has in the same file. */
const OLD = 'PUSHER_APP_ID=old-app\nPUSHER_APP_KEY=old-key\nPUSHER_APP_SECRET=old-secret\n';
const settings = new Set(Array.from(text('settings.md').matchAll(/^\| `([A-Z_]+)` \|/gm), ([, name]) => name));

for (const page of ['migration.md', 'migration.pt-BR.md', 'security.md', 'security.pt-BR.md']) {
  const blocks = codeBlocks(page).filter(({ language }) => language === 'env');

  for (const { section, code } of blocks) {
    test(`${page}, ${section}: a server starts with the settings`, { timeout: 300_000 }, async (t) => {
      const dir = await folder();
      t.after(() => dir.remove());
      await dir.write('.env', OLD + code);
      const options = { cwd: dir.path(''), env: { PATH: process.env.PATH, HOME: dir.path(''), XDG_RUNTIME_DIR: dir.path('') } };
      const { stdout, stderr } = await run(binary, ['config', 'check'], options);
      assert.doesNotMatch(stdout + stderr, /warning/i);
      for (const [, name] of code.matchAll(/^(?:REVERB|CLARIM)_(\w+)=/gm)) {
        assert.match(stdout, new RegExp(`^ +${name} .*\\.env line`, 'm'), name);
      }
      const port = await freePort();
      const server = foreground(binary, ['start', '--host', '127.0.0.1', '--port', String(port)], options);
      t.after(() => server.stop());
      await until(() => fetch(`http://127.0.0.1:${port}/up`).then(({ ok }) => ok, () => false), { what: 'the server' });
      // Fails unless the server has the app of these settings.
      await run(binary, ['send', 'news', 'hello', '--url', `http://127.0.0.1:${port}`], options);
    });
  }

  test(`${page} names settings that exist`, () => {
    assert.ok(blocks.length > 0);
    const rows = [...text(page).matchAll(/^\|.*\| (.*) \|$/gm)].map(([, cell]) => cell);
    const named = rows.flatMap((cell) => [...cell.matchAll(/`([A-Z]+_[A-Z_]+)(?:=\w+)?`/g)]).map(([, name]) => name);
    assert.ok(named.length > 10);
    assert.deepEqual(named.filter((name) => !settings.has(name)), []);
    const same = [...text(page).matchAll(/`(?:REVERB_)([A-Z_]+)`/g)].map(([, name]) => name);
    assert.deepEqual(same.filter((name) => !settings.has(name)), []);
  });
}
