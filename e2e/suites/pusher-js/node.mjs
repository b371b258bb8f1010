// Runs the bundle of the suite in this process and sends its reports to the parent. Arguments: the bundle's
// path, and the settings as JSON.
import { createRequire } from 'node:module';
import jasmine from 'jasmine-core';

const [bundle, clarim] = process.argv.slice(2);
globalThis.clarim = { ...JSON.parse(clarim), report: (result) => process.send(result) };
jasmine.installGlobals();
createRequire(import.meta.url)(bundle);
