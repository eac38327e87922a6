// For `node --require …/probe.js` through NODE_OPTIONS: what `runmain doctor` hears of a Node process
// (docs/doctor-records.md). Without RUNMAIN_DOCTOR, and in worker threads, nothing is loaded.
'use strict';

if (process.env.RUNMAIN_DOCTOR && require('node:worker_threads').isMainThread) {
  try {
    require('./lib/probe').install(process.env);
  } catch {
    // a process that cannot be watched runs as it would
  }
}
