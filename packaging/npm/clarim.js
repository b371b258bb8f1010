#!/usr/bin/env node
// Runs the program that npm has installed for this platform.
'use strict';
const { spawn } = require('node:child_process');
const { constants } = require('node:os');

const name = `@clarim/${process.platform}-${process.arch}`;
let program;
try {
  program = require.resolve(`${name}/bin/clarim`);
} catch {
  console.error(`clarim: the package ${name} is not installed. Install clarim without --omit=optional. `
    + 'There are programs for Linux and macOS on x64 and arm64.');
  process.exit(1);
}

const child = spawn(program, process.argv.slice(2), { stdio: 'inherit' });
// A terminal sends Ctrl+C to both. A supervisor sends a signal only to this process.
for (const signal of ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2']) process.on(signal, () => child.kill(signal));
process.on('SIGINT', () => { if (!process.stdin.isTTY) child.kill('SIGINT'); });
child.on('error', (error) => {
  console.error(`clarim: ${error.message}`);
  process.exit(1);
});
child.on('exit', (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : code));
