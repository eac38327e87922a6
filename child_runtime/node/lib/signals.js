// SIGTERM and SIGINT end a program as they would without OpenTelemetry. Its SDK's own listeners only shut the
// SDK down; by being there they take away the signal's default, and the process lives on. Here they run, and
// if nobody else listens the default follows.
//
// A signal also waits, a little, for the answer to a claim: spans wait for it, too.
//
// Invariant: a listener of the program's own that was there when the signal came decides alone. Non-goal: making a program drain.
'use strict';

const kSignals = ['SIGTERM', 'SIGINT'];
const kFlushMs = 500;
const kMethods = ['on', 'addListener', 'once', 'prependListener', 'prependOnceListener'];

const originals = {};
for (const method of kMethods) originals[method] = process[method];

const ours = { SIGTERM: new Map(), SIGINT: new Map() }; // what was asked for → what listens
const results = { SIGTERM: [], SIGINT: [] }; // of ours, at this signal

// Comes before all listeners: Node takes a `once` out before it runs, and who has run may have left by itself.
function note(signal) {
  results[signal] = [];
  if (process.listenerCount(signal) > ours[signal].size + 1) return;
  let ended = false;
  const end = () => {
    if (ended) return;
    ended = true;
    for (const listener of [...ours[signal].keys()]) remove(signal, listener);
    process.kill(process.pid, signal);
  };
  setTimeout(end, kFlushMs);
  process.nextTick(() => Promise.allSettled(results[signal]).then(end)); // when all have run
}

function toFront(signal) {
  if (ours[signal].size === 0 || process.listeners(signal)[0] === note) return;
  process.removeListener(signal, note);
  originals.prependListener.call(process, signal, note);
}

// A later prependListener comes before ours. No signal is delivered before the next tick.
function onNewListener(signal, listener) {
  if (kSignals.includes(signal) && listener !== note) process.nextTick(toFront, signal);
}

function wrap(signal, listener) {
  return () => {
    try {
      results[signal].push(listener(signal));
    } catch {
      // as with the SDK's own, which never throws
    }
  };
}

// Runs `listener` at the signal, and then lets the signal do what it does.
function flushBefore(signal, listener) {
  if (ours[signal].has(listener)) return;
  if (kSignals.every((one) => ours[one].size === 0)) originals.on.call(process, 'newListener', onNewListener);
  const wrapped = wrap(signal, listener);
  ours[signal].set(listener, wrapped);
  originals.on.call(process, signal, wrapped);
  toFront(signal);
}

function remove(signal, listener) {
  process.removeListener(signal, ours[signal].get(listener));
  ours[signal].delete(listener);
  if (ours[signal].size === 0) process.removeListener(signal, note);
  if (kSignals.every((one) => ours[one].size === 0)) process.removeListener('newListener', onNewListener);
}

// Until the function that this gives is called, SIGTERM and SIGINT wait for `wait(ended)` to call `ended`.
function delaySignals(wait) {
  const listener = () => new Promise(wait);
  for (const signal of kSignals) flushBefore(signal, listener);
  return () => {
    for (const signal of kSignals) {
      if (ours[signal].has(listener)) remove(signal, listener);
    }
  };
}

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

// One for all copies of this package: two would each take the other for the program.
const kKey = Symbol.for('runmain.signals.1');
if (!globalThis[kKey]) Object.defineProperty(globalThis, kKey, { value: { install, flushBefore, delaySignals } });
module.exports = globalThis[kKey];
