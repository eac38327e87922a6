// What the probe wraps of OpenTelemetry's packages: providers, the global one, tracers, spans, contexts and
// instrumentations. sdk-trace(-base) 1.x and 2.x, all copies of them that a process has.
//
// Invariant: no processor is added, no class has another behaviour; a class whose making is to be seen is exported as
// a proxy of itself.
'use strict';

const { frames, stack, stackOf, textOf, wrap } = require('./probe_records');
const { Exporters } = require('./probe_export');
const { packageOf, isInstrumentation, isTelemetry } = require('./probe_package');

const kSpanOfContext = Symbol.for('OpenTelemetry Context Key SPAN'); // @opentelemetry/api, trace/context-utils
const kGlobal = Symbol.for('opentelemetry.js.api.1'); // of all copies of @opentelemetry/api
const kRegister = /[/\\]auto-instrumentations-node[/\\]build[/\\][^/\\]*[/\\]register/;
const kAttributesMax = 32;

const hasOwn = (object, name) => Object.prototype.hasOwnProperty.call(object, name);
const classOf = (object) => (object && object.constructor && object.constructor.name) || 'Object';

// `library` of an instrumentation by its name: "http" of "@opentelemetry/instrumentation-http".
function libraryOf(name) {
  return String(name).replace(/^.*instrumentation-/, '');
}

function resourceOf(provider) {
  const resource = provider._resource || provider.resource;
  const raw = resource && typeof resource.getRawAttributes === 'function' ? resource.getRawAttributes() : undefined;
  const entries = raw || Object.entries((resource && resource.attributes) || {});
  const known = entries.filter(([, value]) => value !== undefined && value !== null && typeof value.then !== 'function');
  const first = known.slice(0, kAttributesMax).reverse(); // of two values of a name the first one counts
  return Object.fromEntries(first.map(([key, value]) => [key, String(value)]));
}

// All processors of a provider, as they are now.
function processorsOf(provider) {
  const active = provider._activeSpanProcessor || provider.activeSpanProcessor; // 2.x, 1.x
  const list = (active && active._spanProcessors) || provider._registeredSpanProcessors;
  if (Array.isArray(list) && list.length > 0) return list;
  return active && active._exporter ? [active] : []; // 1.x by its environment
}

// Who starts a span: the first frame outside of OpenTelemetry's packages, or in an instrumentation.
function starter() {
  for (const frame of frames()) {
    const { name } = packageOf(frame.file) || { name: '' };
    if (!isTelemetry(name)) return { by: isInstrumentation(name) ? 'library' : 'program', at: textOf(frame) };
  }
  return {};
}

class Hooks {
  constructor(records, env, packages) {
    this.records = records;
    this.packages = packages; // names of those loaded
    this.exporters = new Exporters(records, env);
    this.done = new WeakSet(); // prototypes
    this.providers = new WeakMap(); // → their processors that were told of
    this.tracers = new WeakMap(); // → id of the provider
    this.started = new WeakMap(); // spans → whether they were current
  }

  // A file of the package @opentelemetry/`name` has made `exports`.
  loaded(name, exports) {
    this.exporters.loaded(name, exports);
    if (name === 'api') {
      this.once(exports.TraceAPI, (prototype) => this.traceApi(prototype));
      this.once(exports.ContextAPI, (prototype) => this.contextApi(prototype));
    } else if (name === 'instrumentation') {
      this.once(exports.InstrumentationBase, (prototype) => this.instrumentation(prototype));
    } else if (name === 'sdk-trace' || name === 'sdk-trace-base') {
      for (const key of ['TracerProvider', 'BasicTracerProvider']) this.provider(exports, key);
      this.once(exports.Tracer, (prototype) => this.tracer(prototype));
      for (const key of ['Span', 'SpanImpl']) this.once(exports[key], (prototype) => this.span(prototype));
    }
  }

  once(Class, change) {
    const prototype = typeof Class === 'function' ? Class.prototype : undefined;
    if (!prototype || this.done.has(prototype)) return false;
    this.done.add(prototype);
    change(prototype);
    return true;
  }

  // ---- providers

  provider(exports, key) {
    const Class = exports[key];
    if (typeof Class !== 'function' || !Class.prototype || !hasOwn(Class.prototype, 'getTracer')) return;
    if (!this.once(Class, (prototype) => this.providerMethods(prototype))) return;
    const own = Object.getOwnPropertyDescriptor(exports, key);
    if (!own || !own.writable) return; // then it is seen with its first tracer
    const { records } = this;
    const seen = (made) => records.safely(() => this.see(made));
    const proxy = new Proxy(Class, {
      construct(target, args, made) {
        const provider = Reflect.construct(target, args, made);
        seen(provider);
        return provider;
      },
    });
    Object.defineProperty(Class.prototype, 'constructor', { value: proxy, writable: true, configurable: true, enumerable: false });
    exports[key] = proxy;
  }

  // Tells of a provider, and of its processors that were not told of.
  see(provider) {
    const at = stack();
    let told = this.providers.get(provider);
    if (!told) {
      this.providers.set(provider, (told = new Set()));
      this.records.write('provider', { id: this.records.id(provider), class: classOf(provider), resource: resourceOf(provider), stack: at });
    }
    for (const one of processorsOf(provider)) {
      if (told.has(one)) continue;
      told.add(one);
      const fields = { provider: this.records.id(provider), id: this.records.id(one), class: classOf(one) };
      this.records.write('processor', { ...fields, ...this.exporters.behind(one), stack: at });
    }
  }

  providerMethods(prototype) {
    const hooks = this;
    const { records } = this;
    wrap(prototype, 'getTracer', (getTracer) => function () {
      const tracer = getTracer.apply(this, arguments);
      records.safely(() => {
        hooks.see(this);
        hooks.tracers.set(tracer, records.id(this));
      });
      return tracer;
    });
    wrap(prototype, 'addSpanProcessor', (add) => function () {
      records.safely(() => hooks.see(this));
      const result = add.apply(this, arguments);
      records.safely(() => hooks.see(this));
      return result;
    });
    wrap(prototype, 'shutdown', (shutdown) => function () {
      const began = process.hrtime.bigint();
      const at = records.safely(() => (hooks.see(this), stack()));
      const tell = () => records.safely(() => {
        const ms = Number(process.hrtime.bigint() - began) / 1e6;
        records.write('shutdown', { provider: records.id(this), ms, stack: at });
      });
      return settled(shutdown.apply(this, arguments), tell);
    });
  }

  // ---- the API

  traceApi(prototype) {
    const hooks = this;
    const { records } = this;
    wrap(prototype, 'setGlobalTracerProvider', (set) => function (provider) {
      const at = records.safely(() => stack());
      const isDuplicate = Boolean(globalThis[kGlobal] && globalThis[kGlobal].trace);
      const accepted = set.apply(this, arguments);
      records.safely(() => {
        if (hooks.providers.has(provider)) hooks.see(provider);
        const id = hooks.providers.has(provider) ? records.id(provider) : null;
        const more = accepted ? {} : { first_pid: process.pid, reason: isDuplicate ? 'duplicate' : 'version' };
        records.write('set', { provider: id, class: classOf(provider), accepted: Boolean(accepted), ...more, stack: at });
      });
      return accepted;
    });
  }

  contextApi(prototype) {
    const hooks = this;
    for (const name of ['with', 'bind', 'attach']) {
      wrap(prototype, name, (original) => function (context) {
        hooks.records.safely(() => hooks.activate(context));
        return original.apply(this, arguments);
      });
    }
  }

  activate(context) {
    const span = context && typeof context.getValue === 'function' ? context.getValue(kSpanOfContext) : undefined;
    if (!span || this.started.get(span) !== false) return;
    this.started.set(span, true);
    const { traceId, spanId } = span.spanContext();
    this.records.write('activate', { trace: traceId, span: spanId });
  }

  // ---- tracers and spans

  tracer(prototype) {
    const hooks = this;
    wrap(prototype, 'startSpan', (startSpan) => function () {
      const span = startSpan.apply(this, arguments);
      hooks.records.safely(() => hooks.start(this, span));
      return span;
    });
  }

  start(tracer, span) {
    if (typeof span.isRecording !== 'function' || !span.isRecording()) return;
    if (!this.records.takes('start')) {
      this.records.drop();
      return;
    }
    const { traceId, spanId } = span.spanContext();
    const scope = tracer.instrumentationScope || tracer.instrumentationLibrary || {};
    const parent = (span.parentSpanContext && span.parentSpanContext.spanId) || span.parentSpanId;
    const fields = { trace: traceId, span: spanId, parent, name: span.name, kind: span.kind + 1, scope: scope.name };
    if (this.records.write('start', { ...fields, provider: this.tracers.get(tracer), ...starter() })) this.started.set(span, false);
  }

  span(prototype) {
    const hooks = this;
    wrap(prototype, 'end', (end) => function () {
      hooks.records.safely(() => hooks.end(this));
      return end.apply(this, arguments);
    });
  }

  end(span) {
    if (!this.started.has(span) || !span.isRecording()) return;
    const { traceId, spanId } = span.spanContext();
    this.records.write('end', { trace: traceId, span: spanId });
  }

  // ---- instrumentations

  instrumentation(prototype) {
    const hooks = this;
    wrap(prototype, 'enable', (enable) => function () {
      const refused = this._enabled === true;
      const result = enable.apply(this, arguments);
      hooks.records.safely(() => hooks.enabled(this, refused));
      return result;
    });
  }

  enabled(instrumentation, refused) {
    const all = frames();
    const modules = Array.isArray(instrumentation._modules) ? instrumentation._modules : [];
    this.records.write('instrument', {
      class: classOf(instrumentation),
      library: libraryOf(instrumentation.instrumentationName),
      automatic: all.some((frame) => kRegister.test(frame.file)),
      refused,
      late: modules.some((module) => this.packages.has(module.name)),
      stack: stackOf(all),
    });
  }
}

// The promise of `result`, told of when it settles; a rejection stays the program's to see.
function settled(result, tell) {
  if (!result || typeof result.then !== 'function') {
    tell();
    return result;
  }
  return result.then(
    (value) => (tell(), value),
    (error) => {
      tell();
      throw error;
    },
  );
}

function hooks(records, env, packages) {
  return new Hooks(records, env, packages);
}

module.exports = { hooks };
