// The probe of `runmain doctor` (docs/doctor-records.md): says what a Node process does with OpenTelemetry, and how it
// ends. Methods are wrapped where Node loads them; what they do stays as it is.
//
// Invariants: no hook throws into the program; nothing of OpenTelemetry is loaded from here; a process that loads
// nothing of it pays for one name compared at each file that it loads, and one record.
'use strict';

const { Records } = require('./probe_records');

const kKey = Symbol.for('runmain.probe.1');

// Once a process: NODE_OPTIONS may name it twice.
function install(env) {
  if (globalThis[kKey]) return;
  Object.defineProperty(globalThis, kKey, { value: true });
  const records = new Records(env.RUNMAIN_DOCTOR);
  records.write('process', {
    runtime: `node ${process.versions.node}`,
    ppid: process.ppid,
    argv: [process.argv0, ...process.execArgv, ...process.argv.slice(1)],
    forked: false,
  });
  require('./probe_process').install(records);
  require('./probe_modules').install(records, env);
}

module.exports = { install };
