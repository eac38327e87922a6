// OTLP exporters, for the probe: what they are asked to send to, what became of it, and that it comes to the receiver
// of `runmain doctor` wherever the program has told it to go. otlp-exporter-base 0.49 and later. Of metrics and logs
// nothing is told, but they come, too: a collector that is not there would keep the program's end waiting.
//
// Invariant: an exporter serializes, batches, waits and ends as it does; its transport alone is another.
'use strict';

const { wrap } = require('./probe_records');

const kProtocols = { http: 'http/json', proto: 'http/protobuf', grpc: 'grpc' }; // of exporter-SIGNAL-otlp-KIND
const kPackage = /^exporter-(?:trace|metrics|logs)-otlp-(http|proto|grpc)$/;
const kJson = 'application/json';
const kProtobuf = 'application/x-protobuf';
const kLookedAtMax = 64;
const kTimeoutMs = 10000;

const classOf = (object) => (object && object.constructor && object.constructor.name) || 'Object';

function* prototypesOf(object) {
  for (let at = Object.getPrototypeOf(object); at && at !== Object.prototype; at = Object.getPrototypeOf(at)) yield at;
}

function isExporter(thing) {
  return typeof thing.export === 'function' && typeof thing.shutdown === 'function';
}

function areSpans(items) {
  return Array.isArray(items) && items.length > 0 && typeof items[0].spanContext === 'function';
}

function pathOf(items) {
  if (areSpans(items)) return 'v1/traces';
  return Array.isArray(items) ? 'v1/logs' : 'v1/metrics';
}

// `name=value,…`
function readHeaders(text) {
  const parts = (text || '').split(',').filter((part) => part.indexOf('=') > 0);
  return Object.fromEntries(parts.map((part) => [part.slice(0, part.indexOf('=')).trim(), part.slice(part.indexOf('=') + 1).trim()]));
}

class Exporters {
  constructor(records, env) {
    this.records = records;
    this.bases = new WeakSet(); // prototypes
    this.protocols = new WeakMap(); // of prototypes
    this.known = new WeakMap(); // exporters → { endpoint, protocol }
    this.headers = readHeaders(env.RUNMAIN_DOCTOR_HEADERS);
    this.base = (env.RUNMAIN_DOCTOR_ENDPOINT || '').replace(/\/*$/, '');
  }

  loaded(name, exports) {
    const [, kind] = kPackage.exec(name) || [];
    const protocol = kProtocols[kind];
    for (const one of protocol ? Object.values(exports) : []) {
      if (typeof one === 'function' && one.prototype && typeof one.prototype.export === 'function') this.protocols.set(one.prototype, protocol);
    }
    const Base = name === 'otlp-exporter-base' ? exports.OTLPExporterBase : undefined;
    if (typeof Base !== 'function' || this.bases.has(Base.prototype)) return;
    this.bases.add(Base.prototype);
    this.watch(Base.prototype);
  }

  isOtlp(thing) {
    for (const at of prototypesOf(thing)) if (this.bases.has(at)) return true;
    return false;
  }

  // ---- what a processor has

  // Of what stands behind a processor, in its attributes and theirs: the OTLP exporter, else the first exporter.
  find(processor) {
    let first;
    const looked = new Set([processor]);
    for (const thing of looked) {
      if (thing !== processor && isExporter(thing)) {
        if (this.isOtlp(thing)) return thing;
        first = first || thing;
      }
      for (const value of Array.isArray(thing) ? thing : Object.values(thing)) {
        if (value && typeof value === 'object' && looked.size < kLookedAtMax) looked.add(value);
      }
    }
    return first;
  }

  // Fields of a `processor` record.
  behind(processor) {
    const batch = [...prototypesOf(processor)].some((at) => classOf({ constructor: at.constructor }).includes('BatchSpanProcessor'));
    const exporter = this.find(processor);
    if (!exporter) return { batch };
    const { endpoint, protocol } = this.describe(exporter);
    return { exporter: this.records.id(exporter), exporter_class: classOf(exporter), endpoint, protocol, batch };
  }

  describe(exporter) {
    let found = this.known.get(exporter);
    if (found) return found;
    found = {};
    if (this.isOtlp(exporter)) {
      for (const at of prototypesOf(exporter)) found.protocol = found.protocol || this.protocols.get(at);
      found.endpoint = endpointOf(exporter);
    }
    this.known.set(exporter, found);
    return found;
  }

  // ---- exporting

  watch(prototype) {
    const all = this;
    const { records } = this;
    wrap(prototype, 'export', (send) => function (items, done, ...rest) {
      records.safely(() => all.redirect(this, pathOf(items)));
      if (!records.safely(() => areSpans(items)) || typeof done !== 'function') return send.call(this, items, done, ...rest);
      const began = process.hrtime.bigint();
      const answered = (result) => records.safely(() => {
        const ms = Number(process.hrtime.bigint() - began) / 1e6;
        records.write('export', { exporter: records.id(this), spans: items.length, ok: Boolean(result && result.code === 0), ms });
      });
      return send.call(this, items, function (result) {
        answered(result);
        return done.apply(this, arguments);
      }, ...rest);
    });
  }

  // Once an exporter, before its first request.
  redirect(exporter, where) {
    const known = this.describe(exporter);
    if (known.isSeen) return;
    known.isSeen = true;
    if (!this.base || (known.protocol !== 'grpc' && isSame(known.endpoint, this.base))) return;
    const isJson = known.protocol === 'http/json' || exporter._contentType === kJson; // that of metrics of 1.x
    const post = (bytes, timeoutMs) => this.post(`${this.base}/${where}`, bytes, isJson ? kJson : kProtobuf, timeoutMs);
    const { _delegate: delegate } = exporter;
    if (delegate && delegate._transport) {
      const before = delegate._transport;
      delegate._transport = { send: post, shutdown: () => before.shutdown() };
    } else if (exporter._serializer && typeof exporter.send === 'function') {
      exporter.send = sendOfFirst(exporter, post);
    }
  }

  // What a transport of otlp-exporter-base gives: { status, error }.
  post(url, bytes, type, timeoutMs = kTimeoutMs) {
    const { request, Agent } = require('node:http');
    this.agent = this.agent || new Agent({ keepAlive: true });
    const headers = { ...this.headers, 'content-type': type, 'content-length': bytes.length };
    return new Promise((resolve) => {
      const failed = (error) => resolve({ status: 'failure', error });
      const sent = request(url, { method: 'POST', headers, agent: this.agent }, (response) => {
        response.resume();
        response.on('error', failed);
        response.on('end', () => {
          if (response.statusCode <= 299) resolve({ status: 'success' });
          else failed(new Error(`${url} answers ${response.statusCode}`));
        });
      });
      sent.setTimeout(timeoutMs, () => sent.destroy(new Error('Request timed out')));
      sent.on('error', failed);
      sent.end(bytes);
    });
  }
}

function isSame(endpoint, url) {
  try {
    return new URL(endpoint).origin === new URL(url).origin;
  } catch {
    return false;
  }
}

// As the program asked for it.
function endpointOf(exporter) {
  const delegate = exporter._delegate;
  let transport = delegate ? delegate._transport : exporter._transport;
  while (transport && transport._transport) transport = transport._transport; // the one that tries again
  const { url, address } = (transport && transport._parameters) || {};
  return url || address || exporter.url;
}

// The `send` of exporters before 0.54, which keep their requests in a list that a flush waits for.
function sendOfFirst(exporter, post) {
  return function (objects, onSuccess, onError) {
    if (exporter._shutdownOnce && exporter._shutdownOnce.isCalled) return;
    const bytes = exporter._serializer.serializeRequest(objects);
    if (!bytes) {
      onError(new Error('Could not serialize message'));
      return;
    }
    const answered = ({ status, error }) => (status === 'success' ? onSuccess() : onError(error));
    const promise = post(bytes, exporter.timeoutMillis).then(answered, onError);
    exporter._sendingPromises.push(promise);
    const pop = () => exporter._sendingPromises.splice(exporter._sendingPromises.indexOf(promise), 1);
    promise.then(pop, pop);
  };
}

module.exports = { Exporters };
