// Zero-code instrumentation (RUNMAIN_AUTO=1): starts what the program's folder has of OpenTelemetry, once,
// when the program loads the first library that can be instrumented, and before that load returns.
//
// Invariant: a provider of the program's own wins, before ours (then nothing is started) or after (then ours
// steps aside, and tracers that were handed out follow). Non-goal: installing packages.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const Module = require('node:module');
const { isMainThread } = require('node:worker_threads');
const { runtime } = require('./runtime');
const { programFolder } = require('./program');

function isStartedElsewhere() {
  const words = [...process.execArgv, process.env.NODE_OPTIONS || ''].join(' ');
  if (/@opentelemetry[/\\][^ ]*register|opentelemetry-instrumentation-preload/.test(words)) return true;
  const api = globalThis[Symbol.for('opentelemetry.js.api.1')];
  return Boolean(api && api.trace);
}

// ---- our provider, and how it steps aside

class SwitchTracer {
  constructor(owner, args) {
    this.owner = owner;
    this.args = args;
  }
  real() {
    if (this.provider !== this.owner.current) {
      this.provider = this.owner.current;
      this.tracer = this.provider.getTracer(...this.args);
    }
    return this.tracer;
  }
  startSpan(...args) {
    return this.real().startSpan(...args);
  }
  startActiveSpan(...args) {
    return this.real().startActiveSpan(...args);
  }
}

class SwitchProvider {
  constructor(provider) {
    this.current = provider;
    this.replaced = false;
  }
  getTracer(...args) {
    return new SwitchTracer(this, args);
  }
  forceFlush() {
    return this.current.forceFlush ? this.current.forceFlush() : Promise.resolve();
  }
  shutdown() {
    return this.current.shutdown ? this.current.shutdown() : Promise.resolve();
  }
  // What was asked for of ours (a console's exporter) sees the program's spans, too.
  replaceBy(provider) {
    const before = this.current;
    this.current = provider;
    this.replaced = true;
    require('./sdk_hooks').handOver(before, provider);
    if (before.shutdown) before.shutdown().catch(() => {});
  }
}

// ---- starting

function named(load) {
  const folder = programFolder();
  let dependencies = {};
  for (let at = folder; at !== path.dirname(at); at = path.dirname(at)) {
    try {
      dependencies = JSON.parse(fs.readFileSync(path.join(at, 'package.json'), 'utf8')).dependencies || {};
      break;
    } catch {
      // further up
    }
  }
  const made = [];
  for (const name of Object.keys(dependencies)) {
    if (!name.startsWith('@opentelemetry/instrumentation-')) continue;
    const exports = load(name);
    const found = Object.keys(exports).find((key) => /Instrumentation$/.test(key));
    if (found) made.push(new exports[found]());
  }
  return made;
}

function tryLoad(load, name) {
  try {
    return load(name);
  } catch (error) {
    if (error.code === 'MODULE_NOT_FOUND' || error.code === 'ERR_PACKAGE_PATH_NOT_EXPORTED') return undefined;
    throw error;
  }
}

function loadSdk(load) {
  const file = path.join(programFolder(), 'program.js');
  const packages = tryLoad((name) => Module.createRequire(file).resolve(name), '@opentelemetry/auto-instrumentations-node');
  const all = packages && load('@opentelemetry/auto-instrumentations-node');
  const near = packages ? Module.createRequire(packages) : load;
  return {
    instrumentations: all ? all.getNodeAutoInstrumentations() : named(load),
    detectors: all && all.getResourceDetectors ? all.getResourceDetectors() : undefined,
    sdk: tryLoad(load, '@opentelemetry/sdk-node') || tryLoad(near, '@opentelemetry/sdk-node'),
  };
}

// Ours takes the place of the OTLP exporter that the environment asks for. Others of it the SDK makes; where it makes an
// OTLP one beside them, that hands over.
function processorsOfOurs() {
  const names = (process.env.OTEL_TRACES_EXPORTER || '').split(',').map((name) => name.trim());
  if (!names.every((name) => name === '' || name === 'otlp')) return {};
  return { spanProcessors: [new (require('./processor').MailboxSpanProcessor)()] };
}

// `plain`: not below runmain, or with its telemetry off: as the SDK does it by the environment.
function start(plain) {
  const state = runtime();
  const load = Module.createRequire(path.join(programFolder(), 'program.js'));
  const { instrumentations, sdk } = loadSdk(load);
  if (!sdk) return !plain && startBare(load, instrumentations);
  const processors = plain ? {} : processorsOfOurs();
  const made = new sdk.NodeSDK({ instrumentations, ...processors });
  state.starting = (provider) => (state.ourProvider = new SwitchProvider(provider));
  try {
    made.start();
  } finally {
    state.starting = undefined;
  }
  state.setUp = true;
  const end = () => made.shutdown();
  const { flushBefore } = require('./signals');
  flushBefore('SIGTERM', end);
  flushBefore('SIGINT', end);
  process.once('beforeExit', () => end().catch(() => {}));
  return true;
}

// Without sdk-node: the provider alone.
function startBare(load, instrumentations) {
  const node = tryLoad(load, '@opentelemetry/sdk-trace-node') || tryLoad(load, '@opentelemetry/sdk-trace-base');
  const base = tryLoad(load, '@opentelemetry/instrumentation');
  if (!node || !base) return false;
  const state = runtime();
  const provider = new (node.NodeTracerProvider || node.BasicTracerProvider)();
  state.starting = (one) => (state.ourProvider = new SwitchProvider(one));
  try {
    if (provider.register) provider.register();
    else load('@opentelemetry/api').trace.setGlobalTracerProvider(provider);
  } finally {
    state.starting = undefined;
  }
  base.registerInstrumentations({ instrumentations });
  state.setUp = true;
  return true;
}

// Once a service's start, by the process that serves.
function tellMissing(state) {
  const { RUNMAIN_WORKER, RUNMAIN_GENERATION } = state.env;
  if (!state.auto || RUNMAIN_WORKER !== '0' || RUNMAIN_GENERATION !== '1') return;
  const tell = () => {
    if (!state.serving) return;
    const text = `${programFolder()} has no @opentelemetry/auto-instrumentations-node: nothing is traced`;
    process.emitWarning(text, 'RunmainWarning');
  };
  if (state.serving) tell();
  else state.afterClaim.push(tell);
}

function startOnce(plain = false) {
  const state = runtime();
  if (state.autoDone || !isMainThread) return false;
  state.autoDone = true;
  if (isStartedElsewhere()) return false;
  try {
    const started = start(plain);
    if (!started) tellMissing(state);
    return started;
  } catch (error) {
    process.emitWarning(`no instrumentation, ignoring: ${error.message}`, 'RunmainWarning');
    return false;
  }
}

// For programs of ES modules, whose imports no hook of require sees.
function registerImports() {
  const load = Module.createRequire(path.join(programFolder(), 'program.js'));
  let hook;
  try {
    const packages = load.resolve('@opentelemetry/auto-instrumentations-node');
    hook = Module.createRequire(packages).resolve('@opentelemetry/instrumentation/hook.mjs');
  } catch {
    hook = tryLoad((name) => load.resolve(name), '@opentelemetry/instrumentation/hook.mjs');
  }
  if (hook && Module.register) Module.register(require('node:url').pathToFileURL(hook).href);
}

function startWithImports() {
  if (!isMainThread || isStartedElsewhere()) return;
  registerImports();
  startOnce();
}

module.exports = { startOnce, startWithImports, SwitchProvider };
