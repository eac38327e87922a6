// How a process takes signals, sends them and ends, for `runmain doctor` (docs/doctor-records.md).
//
// Invariant: signals stay as they are: no listener for one is added here, and each of the program's gets what it got.
'use strict';

const { constants } = require('node:os');
const channels = require('node:diagnostics_channel');
const { frames, stack, stackOf, wrap } = require('./probe_records');

const kWatched = ['SIGTERM', 'SIGINT'];
const kSent = ['SIGTERM', 'SIGKILL'];

function nameOf(signal = 'SIGTERM') {
  if (typeof signal !== 'number') return signal;
  return kSent.find((name) => constants.signals[name] === signal);
}

function watchSignals(records) {
  process.on('newListener', (event, listener) => {
    if (!kWatched.includes(event)) return;
    records.safely(() => {
      const all = frames();
      const handler = all.length > 0 ? all[0].place : listener.name || 'node';
      records.write('signal', { signal: event, handler, stack: stackOf(all) });
    });
  });
}

function sends(records, to, signal) {
  const name = nameOf(signal);
  if (kSent.includes(name)) records.write('kill', { to, signal: name, stack: stack() });
}

function watchKills(records) {
  wrap(process, 'kill', (kill) => function (pid, signal) {
    records.safely(() => sends(records, Number(pid), signal));
    return kill.apply(this, arguments);
  });
  // Child processes have a way of their own, which is loaded with the first of them.
  let isWrapped = false;
  channels.channel('child_process').subscribe(({ process: child }) => {
    if (isWrapped || !child) return;
    isWrapped = true;
    records.safely(() =>
      wrap(Object.getPrototypeOf(child), 'kill', (kill) => function (signal) {
        records.safely(() => this.pid && this.exitCode === null && sends(records, this.pid, signal));
        return kill.apply(this, arguments);
      }),
    );
  });
}

class Ends {
  constructor(records) {
    this.records = records;
    this.isSaid = false;
    this.uncaught = undefined; // the stack, of what nobody catches
  }

  say(how, code, at) {
    if (this.isSaid) return;
    this.isSaid = true;
    this.records.safely(() => {
      const status = code === undefined || code === null ? process.exitCode : code;
      this.records.write('exit', { how, code: Number(status) || 0, stack: at || stack() });
    });
  }
}

function watchEnds(records) {
  const ends = new Ends(records);
  for (const name of ['exit', 'reallyExit']) {
    wrap(process, name, (original) => function (code) {
      ends.say(`process.${name}`, code);
      return original.apply(this, arguments);
    });
  }
  wrap(process, 'abort', (abort) => function () {
    ends.say('process.abort', 134);
    return abort.apply(this, arguments);
  });
  process.on('uncaughtExceptionMonitor', (error) => {
    if (process.listenerCount('uncaughtException') > 0 || process.hasUncaughtExceptionCaptureCallback()) return;
    records.safely(() => (ends.uncaught = [String(error && error.stack).split('\n')[0]]));
  });
  process.on('exit', (code) => {
    if (ends.uncaught) ends.say('uncaughtException', code, ends.uncaught);
    else ends.say('end', code, []);
  });
}

function install(records) {
  watchSignals(records);
  watchKills(records);
  watchEnds(records);
}

module.exports = { install };
