// What a program may call. Nothing has to be: under runmain register.js is loaded before the program, and an
// unmodified one is right.
'use strict';

const { runtime } = require('./lib/runtime');
require('./register');

// Of the copy that was there first: two would each put a processor to each provider.
const registered = globalThis[Symbol.for('runmain.registered.1')];
const load = typeof registered === 'function' ? registered : require;

// Claims now, and not at the first listen. Resolves with true if this process serves; unsupervised it does.
function serve() {
  return runtime().claim(true);
}

function serving() {
  return runtime().serving;
}

// Says that this process accepts: the old generation may drain. False: nobody is there to hear it.
function ready() {
  const { channel } = runtime();
  return Boolean(channel && channel.say({ ready: true }));
}

let listening = false;

// `fn({ budgetMs })` runs once when the process is to end, by runmain's drain or SIGTERM; when the promises of
// all are settled the process ends. With it SIGTERM no longer ends the process by itself.
function onDrain(fn) {
  const state = runtime();
  if (typeof fn !== 'function') throw new TypeError('onDrain takes a function');
  state.drains.push(fn);
  if (listening) return;
  listening = true;
  process.on('SIGTERM', () => {
    if (!state.draining) state.drain(0);
  });
}

let firstCall;

// Starts tracing, once, however often it is called: what the program's folder has of OpenTelemetry. Says
// whether this call has done it, and if not where it was first called.
function setupTracing() {
  if (firstCall) return { started: false, first: firstCall };
  firstCall = (new Error().stack || '').split('\n')[2]?.trim() || 'unknown';
  const { telemetry, token } = runtime();
  const plain = !telemetry; // then the program exports by itself
  if (!plain) load('./lib/early').install({ ...process.env, RUNMAIN_AUTO: '0' }); // where register.js was not loaded
  const isHelper = !plain && token.wiped && !runtime().serving; // of the process that serves
  return { started: !isHelper && load('./lib/auto').startOnce(plain), first: firstCall };
}

module.exports = {
  serve,
  serving,
  ready,
  onDrain,
  setupTracing,
  get instanceId() {
    return runtime().instanceId;
  },
  get MailboxSpanProcessor() {
    return load('./lib/processor').MailboxSpanProcessor;
  },
};
