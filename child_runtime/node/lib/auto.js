// Zero-code instrumentation (RUNMAIN_AUTO=1): starts what the program's folder has of OpenTelemetry, once,
// when the program loads the first library that can be instrumented, and before that load returns.
//
// Invariant: a provider of the program's own wins, before ours (then nothing is started) or after (then ours
// steps aside, and tracers that were handed out follow). Non-goal: installing packages.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const Module = require('node:module');
const { runtime } = require('./runtime');

// Names at which there is something to instrument; file system, sockets and names come with each of them.
const kTriggers = new Set(
  (
    'http https http2 express fastify koa @koa/router @hapi/hapi restify connect router @nestjs/core next ' +
    'pg pg-pool mysql mysql2 mongodb mongoose redis @redis/client ioredis @grpc/grpc-js undici graphql knex ' +
    'amqplib kafkajs pino winston bunyan aws-sdk cassandra-driver memcached generic-pool dataloader tedious ' +
    'socket.io lru-memoizer oracledb openai'
  ).split(' '),
);

function programFolder() {
  const main = process.argv[1];
  if (!main) return process.cwd();
  try {
    return path.dirname(fs.realpathSync(main));
  } catch {
    return path.dirname(path.resolve(main));
  }
}

function isModuleProgram() {
  const main = process.argv[1] || '';
  if (/\.[mc][jt]s$/.test(main)) return /\.m[jt]s$/.test(main);
  for (let folder = programFolder(); ; folder = path.dirname(folder)) {
    try {
      return JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8')).type === 'module';
    } catch (error) {
      if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') return false;
    }
    if (folder === path.dirname(folder)) return false;
  }
}

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
    this.onReplaced = undefined;
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
  replaceBy(provider) {
    this.current = provider;
    this.replaced = true;
    if (this.onReplaced) this.onReplaced();
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

function start() {
  const state = runtime();
  const load = Module.createRequire(path.join(programFolder(), 'program.js'));
  const { instrumentations, sdk } = loadSdk(load);
  if (!sdk) return startBare(load, instrumentations);
  const { mailboxProcessor } = require('./processor');
  const made = new sdk.NodeSDK({ instrumentations, spanProcessors: [mailboxProcessor()] });
  state.starting = (provider) => (state.ourProvider = new SwitchProvider(provider));
  try {
    made.start();
  } finally {
    state.starting = undefined;
  }
  state.setUp = true;
  const end = () => made.shutdown();
  if (state.ourProvider) state.ourProvider.onReplaced = end;
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

function startOnce() {
  const state = runtime();
  if (state.autoDone) return false;
  state.autoDone = true;
  state.beforeLoad = undefined;
  if (isStartedElsewhere()) return false;
  try {
    return start();
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

function install() {
  const state = runtime();
  if (isStartedElsewhere()) return;
  if (isModuleProgram()) {
    registerImports();
    startOnce();
    return;
  }
  state.beforeLoad = (request, parent) => {
    if (typeof request !== 'string') return;
    const name = request.startsWith('node:') ? request.slice(5) : request;
    if (!kTriggers.has(name) && !name.startsWith('@aws-sdk/')) return;
    const by = (parent && parent.filename) || '';
    if (by.startsWith(__dirname) || /[/\\]@(opentelemetry|grpc)[/\\]/.test(by)) return;
    startOnce();
  };
}

module.exports = { install, startOnce, isModuleProgram, SwitchProvider };
