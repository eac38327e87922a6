// Makes what a program starts of OpenTelemetry right: each provider gets a mailbox processor once, OTLP
// exporters hand over instead of sending (logs at once), an instrumentation is enabled once.
//
// The classes' prototypes are changed when Node loads their packages (or were loaded before us), so that a
// program's own provider, in whatever order, works as it is. Nothing of OpenTelemetry is loaded from here.
// Non-goal: SDKs within a bundle; those export to the observer's receiver by their environment.
'use strict';

const { runtime } = require('./runtime');
const outlets = require('./outlets');

const { Outlets, speaks, isWritten, isPlainOtlp, signalOf, sendsItself } = outlets;

const kScope = '@opentelemetry/';
const kDone = Symbol.for('runmain.patched.1');

const hasOwn = (object, name) => Object.prototype.hasOwnProperty.call(object, name);

// Once a prototype: true if it is ours to change now.
function claimPrototype(prototype) {
  if (!prototype || hasOwn(prototype, kDone)) return false;
  Object.defineProperty(prototype, kDone, { value: true });
  return true;
}

// ---- providers

function isOurs(processor) {
  return processor instanceof require('./processor').MailboxSpanProcessor;
}

const attached = new WeakSet();

// Ours of this provider: the one that it was made with, or a new one.
function oursIn(list) {
  const { MailboxSpanProcessor } = require('./processor');
  return list.find((one) => isOurs(one) && !one.outlets) || new MailboxSpanProcessor();
}

// With ours, and without another provider's that the program has put there.
function withOurs(list, ours) {
  const others = list.filter((one) => one === ours || !isOurs(one) || !one.outlets);
  return others.includes(ours) ? others : [...others, ours];
}

// 1.x keeps what addSpanProcessor was given in one array, and a default processor outside of it.
function attachFirst(provider, ours) {
  const list = provider._registeredSpanProcessors;
  const before = list.length === 0 ? provider.activeSpanProcessor : undefined;
  list.splice(0, list.length, ...withOurs(list, ours));
  let active;
  if (before) {
    active = provider.activeSpanProcessor = {
      onStart: (span, context) => (before.onStart(span, context), ours.onStart(span)),
      onEnd: (span) => (before.onEnd(span), ours.onEnd(span)),
      forceFlush: () => before.forceFlush(),
      shutdown: () => before.shutdown(),
    };
  }
  const isDefault = () => active !== undefined && provider.activeSpanProcessor === active;
  return () => (isDefault() ? [before, ...list] : list);
}

function attachSecond(active, ours) {
  active._spanProcessors = withOurs(active._spanProcessors, ours);
  return () => active._spanProcessors;
}

function attach(provider) {
  if (attached.has(provider)) return;
  attached.add(provider);
  const list = listOf(provider);
  if (!list) return;
  const ours = oursIn(list);
  const isFirst = list === provider._registeredSpanProcessors;
  const current = isFirst ? attachFirst(provider, ours) : attachSecond(provider._activeSpanProcessor, ours);
  ours.outlets = new Outlets(current, ours, isOurs);
}

function listOf(provider) {
  const active = provider._activeSpanProcessor;
  const list = provider._registeredSpanProcessors || (active && active._spanProcessors);
  return Array.isArray(list) ? list : undefined;
}

// The processors of `from`, which is ours, go to the program's: but for the mailbox's, which each provider has.
function handOver(from, to) {
  const [source, target] = [listOf(from), listOf(to)];
  if (!source || !target) return;
  for (const one of [...source]) {
    if (isOurs(one) || (one._exporter && isPlainOtlp(one._exporter))) continue;
    source.splice(source.indexOf(one), 1); // else it would end with ours
    if (typeof to.addSpanProcessor === 'function') to.addSpanProcessor(one);
    else target.unshift(one);
  }
}

function patchProvider(Provider) {
  const prototype = Provider && Provider.prototype;
  if (!prototype || !hasOwn(prototype, 'getTracer') || !claimPrototype(prototype)) return;
  const { getTracer, addSpanProcessor } = prototype;
  prototype.getTracer = function (...args) {
    attach(this);
    return getTracer.apply(this, args);
  };
  if (!addSpanProcessor) return; // 2.x
  prototype.addSpanProcessor = function (...args) {
    addSpanProcessor.apply(this, args);
    moveToEnd(this._registeredSpanProcessors);
  };
}

// Ours comes last: others may change a span at its end.
function moveToEnd(list) {
  const at = Array.isArray(list) ? list.findIndex((one) => isOurs(one) && one.outlets) : -1;
  if (at >= 0) list.push(...list.splice(at, 1));
}

// ---- exporters

// What a program has put around it gives it; all else is in the mailbox already, or was withheld.
function exportSpans(exporter, send, spans, done) {
  if (!speaks(exporter)) return done({ code: 0 });
  if (sendsItself(exporter) || runtime().isCutOff()) return send.call(exporter, spans, done);
  try {
    runtime().hand(spans.filter((span) => !isWritten(span)));
  } catch (error) {
    return done({ code: 1, error });
  }
  return done({ code: 0 });
}

// The protobuf serializer beside the exporter's base, whatever the exporter itself speaks.
function serializerOf(signal, load) {
  try {
    const transformer = load('@opentelemetry/otlp-transformer');
    return signal === 1 ? transformer.ProtobufMetricsSerializer : transformer.ProtobufLogsSerializer;
  } catch {
    return undefined;
  }
}

function patchExporter(Exporter, load) {
  const prototype = Exporter && Exporter.prototype;
  if (!claimPrototype(prototype)) return;
  const send = prototype.export;
  prototype.export = function (items, done) {
    const signal = signalOf(this);
    if (signal === 0) return exportSpans(this, send, items, done);
    const serializer = signal === undefined ? undefined : serializerOf(signal, load);
    if (!serializer) return send.call(this, items, done);
    const bytes = serializer.serializeRequest(items);
    if (bytes) runtime().request(signal, bytes);
    return done({ code: 0 });
  };
  outlets.knowOtlp(prototype);
}

// What is the SDK's own, and so changes no span.
function know(exports) {
  for (const name of ['BatchSpanProcessor', 'SimpleSpanProcessor', 'NoopSpanProcessor']) {
    const prototype = exports[name] && exports[name].prototype;
    if (claimPrototype(prototype)) outlets.knowProcessor(prototype);
  }
  for (const name of ['ConsoleSpanExporter', 'InMemorySpanExporter']) {
    const prototype = exports[name] && exports[name].prototype;
    if (claimPrototype(prototype)) outlets.knowExporter(prototype);
  }
}

// ---- logs

const kLogs = 2;
const seen = new WeakSet(); // records; of two processors with an OTLP exporter one writes

// Once all processors have seen it: one behind this may mask it.
function whenMade(record, write) {
  const makeReadonly = record._makeReadonly;
  if (record._isReadonly || typeof makeReadonly !== 'function') return write();
  record._makeReadonly = function () {
    delete record._makeReadonly;
    makeReadonly.call(record);
    write();
  };
  return undefined;
}

// What goes to an OTLP exporter as it is goes there at once: a batch would be lost with the process.
function patchLogProcessor(Processor) {
  let prototype = Processor && Processor.prototype;
  while (prototype && !hasOwn(prototype, 'onEmit')) prototype = Object.getPrototypeOf(prototype);
  if (!claimPrototype(prototype)) return;
  const { onEmit, _addToBuffer } = prototype;
  prototype.onEmit = function (record, ...rest) {
    const { _exporter: exporter } = this;
    const isPlain = this._addToBuffer === _addToBuffer && exporter && isPlainOtlp(exporter) && signalOf(exporter) === kLogs;
    if (!isPlain) return onEmit.call(this, record, ...rest);
    if (seen.has(record)) return undefined;
    seen.add(record);
    return whenMade(record, () => writeLog(exporter, record));
  };
}

function writeLog(exporter, record) {
  try {
    exporter.export([record], () => {});
  } catch (error) {
    process.emitWarning(`a log record was not written, ignoring: ${error && error.message}`, 'RunmainWarning');
  }
}

// ---- instrumentations

const enabled = new Map(); // by name, the one that is

function patchInstrumentation(Base) {
  const prototype = Base && Base.prototype;
  if (!prototype || !hasOwn(prototype, 'enable') || !claimPrototype(prototype)) return;
  const { enable, disable } = prototype;
  prototype.enable = function () {
    const first = enabled.get(this.instrumentationName);
    if (first === undefined) enabled.set(this.instrumentationName, this);
    // The first one has its hooks in place, also for what is loaded by now; the later one's settings count.
    if (first === undefined || first === this) return enable.call(this);
    try {
      first.setConfig({ ...first.getConfig(), ...this.getConfig() });
    } catch {
      // an instrumentation of another version may not take them
    }
    return undefined;
  };
  prototype.disable = function () {
    if (enabled.get(this.instrumentationName) === this) enabled.delete(this.instrumentationName);
    return disable.call(this);
  };
}

// ---- the global provider

// Whether a program registers what ours has registered before: the program's counts.
function isProgramsOwn() {
  return runtime().ourProvider !== undefined && !runtime().starting;
}

function patchApi(api) {
  const prototype = api.trace && Object.getPrototypeOf(api.trace);
  if (!claimPrototype(prototype)) return;
  const { setGlobalTracerProvider } = prototype;
  prototype.setGlobalTracerProvider = function (provider) {
    const { starting, ourProvider } = runtime();
    if (starting) return setGlobalTracerProvider.call(this, starting(provider));
    if (!ourProvider || ourProvider.replaced) return setGlobalTracerProvider.call(this, provider);
    ourProvider.replaceBy(provider);
    return true;
  };
  patchGlobal(api.propagation, 'setGlobalPropagator');
  patchGlobal(api.metrics, 'setGlobalMeterProvider');
  const contexts = api.context && Object.getPrototypeOf(api.context);
  const { setGlobalContextManager } = contexts;
  contexts.setGlobalContextManager = function (manager) {
    return isProgramsOwn() || setGlobalContextManager.call(this, manager); // one is as good as the other
  };
}

// The first one of the program's takes the place of ours.
function patchGlobal(api, name) {
  const prototype = api && Object.getPrototypeOf(api);
  if (!prototype || typeof prototype[name] !== 'function') return;
  const set = prototype[name];
  let replaced = false;
  prototype[name] = function (one) {
    if (isProgramsOwn() && !replaced) {
      replaced = true;
      this.disable();
    }
    return set.call(this, one);
  };
}

function patch(name, exports, load) {
  const state = runtime();
  switch (name) {
    case 'api':
      state.sdk.api = state.sdk.api || exports;
      return patchApi(exports);
    case 'api-logs':
      return claimPrototype(exports.logs && Object.getPrototypeOf(exports.logs)) && patchGlobal(exports.logs, 'setGlobalLoggerProvider');
    case 'core':
      state.sdk.core = state.sdk.core || exports;
      return undefined;
    case 'sdk-trace-base':
    case 'sdk-trace':
      know(exports);
      patchProvider(exports.BasicTracerProvider);
      return patchProvider(exports.TracerProvider);
    case 'sdk-logs':
      patchLogProcessor(exports.BatchLogRecordProcessor);
      return patchLogProcessor(exports.SimpleLogRecordProcessor);
    case 'otlp-exporter-base':
      return patchExporter(exports.OTLPExporterBase, load);
    case 'instrumentation':
      return patchInstrumentation(exports.InstrumentationBase);
    default:
      return undefined;
  }
}

const kPackages = /@opentelemetry[/\\](api|api-logs|core|sdk-trace-base|sdk-trace|sdk-logs|otlp-exporter-base|instrumentation)(?:$|[/\\]build[/\\](?:src|esm)[/\\]index)/;

// Changes the exports of what was just loaded, asked for as `request`: a name, or a file of an import.
function loaded(request, exports, load) {
  const found = kPackages.exec(request);
  if (!found || exports === null || typeof exports !== 'object') return;
  try {
    patch(found[1], exports, load);
  } catch (error) {
    process.emitWarning(`${kScope}${found[1]} is not understood, ignoring: ${error.message}`, 'RunmainWarning');
  }
}

let installed = false;

// Once, before the first package of OpenTelemetry is loaded.
function install() {
  if (installed) return;
  installed = true;
  require('./signals').install();
  // What --require has loaded before us.
  for (const file of Object.keys(require.cache)) {
    if (!file.includes('@opentelemetry')) continue;
    const module = require.cache[file];
    loaded(file, module.exports, (name) => module.require(name));
  }
  attachPresent();
}

// A provider that is global by now has given out tracers before it was changed.
function attachPresent() {
  const api = globalThis[Symbol.for('opentelemetry.js.api.1')];
  const proxy = api && api.trace;
  const provider = proxy && typeof proxy.getDelegate === 'function' ? proxy.getDelegate() : proxy;
  if (provider && typeof provider.getTracer === 'function' && provider !== proxy) attach(provider);
}

module.exports = { install, loaded, attach, handOver };
