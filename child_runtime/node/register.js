// For `node --require …/register.js` and `--import`, also through NODE_OPTIONS: what makes an unmodified
// program right under runmain (docs/contract.md). Each Node process below runmain loads this, also npm and
// compilers: here is decided, cheaply, whether there is anything to do.
'use strict';

const kLoaded = Symbol.for('runmain.registered.1');

function isWanted() {
  if (globalThis[kLoaded] || !process.env.RUNMAIN_TOKEN) return false;
  // Another copy of this package (node_modules/runmain beside runmain's own) works with our modules.
  Object.defineProperty(globalThis, kLoaded, { value: (name) => require(name) });
  return !require('./lib/environment').isLauncher(process.argv, process.execArgv);
}

if (isWanted()) {
  require('./lib/early').install();
}
