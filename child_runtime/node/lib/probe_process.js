// How a process takes signals, sends them and ends, for `runmain doctor` (docs/doctor-records.md).
//
// Invariant: signals and events stay as they are: no listener is added, and each of the program's gets what it got.
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

function sends(records, to, signal) {
  const name = nameOf(signal);
  if (kSent.includes(name)) records.write('kill', { to, signal: name, stack: stack() });
}

function watchKills(records) {
  wrap(process, 'kill', (kill) => function (pid, signal) {
    records.safely(() => sends(records, Number(pid), signal));
    return kill.apply(this, arguments);
  });
  whenChildren((prototype) =>
    wrap(prototype, 'kill', (kill) => function (signal) {
      records.safely(() => this.pid && this.exitCode === null && sends(records, this.pid, signal));
      return kill.apply(this, arguments);
    }),
  );
}

// Child processes have a way of their own, which is loaded with the first of them; Node 18 does not tell of it.
function whenChildren(change) {
  if (parseInt(process.versions.node, 10) < 20) {
    change(require('node:child_process').ChildProcess.prototype);
    return;
  }
  let isFirst = true;
  channels.subscribe('child_process', ({ process: child }) => {
    if (isFirst && child) change(Object.getPrototypeOf(child));
    isFirst = false;
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
      const more = this.records.dropped > 0 ? { left_out: this.records.dropped } : {};
      this.records.write('exit', { how, code: Number(status) || 0, stack: at || (how === 'end' ? undefined : stack()), ...more });
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
  return ends;
}

function signalled(records, event, listener) {
  const all = frames('node:events'); // others may have wrapped process.emit, too
  const handler = all.length > 0 ? all[0].place : listener.name || 'node';
  records.write('signal', { signal: event, handler, stack: stackOf(all) });
}

function isCaught() {
  return process.listenerCount('uncaughtException') > 0 || process.hasUncaughtExceptionCaptureCallback();
}

// Node tells its own process of these; a listener would be one more than the program has.
function watchEvents(records, ends) {
  const seen = (event, first, second) => {
    if (event === 'newListener' && kWatched.includes(first)) signalled(records, first, second);
    else if (event === 'uncaughtExceptionMonitor' && !isCaught()) ends.uncaught = [String(first && first.stack).split('\n')[0]];
    else if (event === 'exit') ends.say(ends.uncaught ? 'uncaughtException' : 'end', first, ends.uncaught);
  };
  wrap(process, 'emit', (emit) => function (event, first, second) {
    if (typeof event === 'string') records.safely(() => seen(event, first, second));
    return emit.apply(this, arguments);
  });
}

function install(records) {
  watchKills(records);
  watchEvents(records, watchEnds(records));
}

module.exports = { install };
