// SIGTERM and SIGINT end a program as they would without OpenTelemetry. Its SDK's own listeners only shut the
// SDK down; by being there they take away the signal's default, and the process lives on. Here they run, and
// if nobody else listens the default follows.
//
// A signal also waits, a little, for the answer to a claim: spans wait for it, too.
//
// Invariant: a listener of the program's own decides alone. Non-goal: making a program drain.
'use strict';

const kSignals = ['SIGTERM', 'SIGINT'];
const kFlushMs = 500;
const kMethods = ['on', 'addListener', 'once', 'prependListener', 'prependOnceListener'];

const ours = { SIGTERM: new Map(), SIGINT: new Map() }; // what was asked for → what listens

function wrap(signal, listener) {
  const wrapped = () => {
    let result;
    try {
      result = listener(signal);
    } catch {
      // as with the SDK's own, which never throws
    }
    if (process.listenerCount(signal) > ours[signal].size) return;
    let ended = false;
    const end = () => {
      if (ended) return;
      ended = true;
      for (const [, one] of ours[signal]) process.removeListener(signal, one);
      ours[signal].clear();
      process.kill(process.pid, signal);
    };
    setTimeout(end, kFlushMs);
    Promise.resolve(result).then(end, end);
  };
  return wrapped;
}

// Runs `listener` at the signal, and then lets the signal do what it does.
function flushBefore(signal, listener) {
  const wrapped = wrap(signal, listener);
  ours[signal].set(listener, wrapped);
  originals.on.call(process, signal, wrapped);
}

// Until the function that this gives is called, SIGTERM and SIGINT wait for `wait(ended)` to call `ended`.
function delaySignals(wait) {
  const listener = () => new Promise(wait);
  for (const signal of kSignals) flushBefore(signal, listener);
  return () => {
    for (const signal of kSignals) {
      const wrapped = ours[signal].get(listener);
      if (!wrapped) continue;
      ours[signal].delete(listener);
      process.removeListener(signal, wrapped);
    }
  };
}

const originals = {};
for (const method of kMethods) originals[method] = process[method];

function isOfSdk(listener) {
  if (/@opentelemetry[/\\](auto-instrumentations-node|sdk-node)[/\\]/.test(new Error().stack || '')) return true;
  return typeof listener === 'function' && /OpenTelemetry SDK terminated/.test(Function.prototype.toString.call(listener));
}

function install() {
  for (const signal of kSignals) {
    for (const listener of process.listeners(signal)) {
      if (!isOfSdk(listener)) continue; // one that --require has put there before us
      process.removeListener(signal, listener);
      flushBefore(signal, listener);
    }
  }
  for (const method of kMethods) {
    process[method] = function (name, listener) {
      if (kSignals.includes(name) && typeof listener === 'function' && isOfSdk(listener)) {
        flushBefore(name, listener);
        return this;
      }
      return originals[method].apply(this, arguments);
    };
  }
}

module.exports = { install, flushBefore, delaySignals };
