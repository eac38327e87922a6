// Where a provider's spans go: to an OTLP exporter as they are, or through something of the program's (which
// masks, filters) that stands around one. Decides who writes them into the mailbox: our processor, at a span's
// end, or the OTLP exporter, what it is given.
//
// Invariant: never both. Non-goal: what makes its inner exporter only later.
'use strict';

const { isProxy } = require('node:util').types;
const { Inside } = require('./inside');

const kLookedAtMax = 256; // objects around an exporter …
const kInsideMax = 48; // … and of these the ones that are looked into, which takes a millisecond or more each
const kLooksMax = 16; // a provider: one whose exporter is never the same would be looked at with each span
const kOtlpParts = ['_export', 'send']; // of an exporter: what is changed there is below our export
const kTransparent = [Object.prototype, Function.prototype, Array.prototype, Map.prototype, Set.prototype];
const kClosed = [Promise, Date, RegExp, Error, ArrayBuffer];

const hasOwn = (object, name) => Object.prototype.hasOwnProperty.call(object, name);

// As the packages have them, before a program changes anything.
const known = {
  ends: new WeakSet(), // onEnd of the SDK's processors
  exports: new WeakSet(), // export of its exporters, and ours of the OTLP ones
  bases: new WeakSet(), // prototypes below all OTLP exporters
  prototypes: new WeakSet(), // of all these
};

function knowProcessor(prototype) {
  known.ends.add(prototype.onEnd);
  if (prototype._addToBuffer) known.ends.add(prototype._addToBuffer); // all that onEnd does
  known.prototypes.add(prototype);
}

const isKnownOrNone = (end) => end === undefined || known.ends.has(end);

function knowExporter(prototype) {
  known.exports.add(prototype.export);
  known.prototypes.add(prototype);
}

let isOtlpLoaded = false;

function knowOtlp(prototype) {
  isOtlpLoaded = true;
  knowExporter(prototype);
  known.bases.add(prototype);
}

const kSignals = [
  ['Span', 0],
  ['Trace', 0],
  ['Metric', 1],
  ['Log', 2],
];

function* prototypesOf(thing) {
  for (let at = thing; at; at = Object.getPrototypeOf(at)) yield at;
}

const isOfPackage = (prototype) => hasOwn(prototype, 'constructor') && /^OTLP/.test(prototype.constructor.name);

// 0 traces, 1 metrics, 2 logs; undefined: of another kind.
function signalOf(exporter) {
  for (const at of prototypesOf(exporter)) {
    const name = (at.constructor && at.constructor.name) || '';
    const found = kSignals.find(([word]) => name.startsWith('OTLP') && name.includes(word));
    if (found) return found[1];
  }
  return undefined;
}

function isOtlp(thing) {
  for (const at of prototypesOf(thing)) {
    if (known.bases.has(at)) return true;
  }
  return false;
}

// A program's own way to send, below our export: it sends by itself.
function sendsItself(exporter) {
  for (const at of prototypesOf(exporter)) {
    if (isOfPackage(at)) return false;
    if (kOtlpParts.some((name) => hasOwn(at, name))) return true;
  }
  return false;
}

function isPlainOtlp(exporter) {
  return !isProxy(exporter) && isOtlp(exporter) && known.exports.has(exporter.export) && !sendsItself(exporter);
}

// ---- looking around

function firstOf(values) {
  const found = [];
  for (const one of values) {
    if (found.push(one) >= kLookedAtMax) break;
  }
  return found;
}

// What can be read of it without running anything of the program's.
function valuesOf(thing) {
  if (Array.isArray(thing)) return thing.slice(0, kLookedAtMax);
  if (thing instanceof Map) return [...firstOf(Map.prototype.keys.call(thing)), ...firstOf(Map.prototype.values.call(thing))];
  if (thing instanceof Set) return firstOf(Set.prototype.values.call(thing));
  const found = [];
  const own = Object.getOwnPropertyDescriptors(thing);
  for (const name of firstNames(Reflect.ownKeys(own))) {
    if (typeof thing === 'function' && name === 'prototype') continue;
    if (own[name].value !== undefined) found.push(own[name].value);
    else if (own[name].get && !own.__esModule) found.push(own[name].get);
    if (found.length >= kLookedAtMax) break;
  }
  return found;
}

function methodsOf(thing) {
  const found = [];
  for (let at = Object.getPrototypeOf(thing); at; at = Object.getPrototypeOf(at)) {
    if (kTransparent.includes(at) || known.prototypes.has(at)) break;
    const own = Object.getOwnPropertyDescriptors(at);
    for (const name of firstNames(Reflect.ownKeys(own))) {
      if (name !== 'constructor') found.push(own[name].value, own[name].get);
    }
  }
  return found.filter((one) => typeof one === 'function');
}

// What spans come through.
const kFirst = ['export', 'onEnd'];

function firstNames(names) {
  return [...kFirst.filter((name) => names.includes(name)), ...names.filter((name) => !kFirst.includes(name))];
}

const textOf = (fn) => Function.prototype.toString.call(fn);
const isClass = (fn) => /^class\b/.test(textOf(fn));

// Whether a function may have variables of others, or parts that are bound.
function mayHold(fn) {
  return !isClass(fn) && (!textOf(fn).endsWith('{ [native code] }') || String(fn.name).startsWith('bound '));
}

// Whether there may be private fields.
function mayHide(thing) {
  for (const at of prototypesOf(Object.getPrototypeOf(thing))) {
    const of = Object.getOwnPropertyDescriptor(at, 'constructor');
    if (of && typeof of.value === 'function' && isClass(of.value) && /#[\w$]/.test(textOf(of.value))) return true;
  }
  return false;
}

const kDeprecated = /^(_.*|sys|punycode)$/;

let builtin;

// Node's own modules, as far as they are loaded.
function isBuiltin(thing) {
  if (!builtin) {
    const { builtinModules } = require('node:module');
    const loaded = new Set((process.moduleLoadList || []).map((line) => line.split(' ').pop()));
    const names = builtinModules.filter((name) => loaded.has(name) && !kDeprecated.test(name));
    builtin = new Set(names.map((name) => require(name)));
  }
  return builtin.has(thing);
}

// `require` leads to all that is loaded.
const isRequire = (thing) => typeof thing === 'function' && typeof thing.resolve === 'function' && typeof thing.cache === 'object';

function isOfNoInterest(thing) {
  if (thing === globalThis || thing === process || thing === console || ArrayBuffer.isView(thing)) return true;
  if (isRequire(thing) || isBuiltin(thing)) return true;
  // Not through a provider or a tracer to what other spans go to.
  return kClosed.some((kind) => thing instanceof kind) || typeof thing.getTracer === 'function' || typeof thing.startSpan === 'function';
}

class Search {
  constructor(isEnd, own) {
    this.isEnd = isEnd;
    this.own = own;
    this.seen = new Set();
    this.weak = new Set(); // what compilers make of private fields
    this.found = [];
    this.inside = new Inside();
    this.looks = 0;
  }

  // Nearest first.
  from(thing) {
    this.add([thing]);
    try {
      for (const one of this.seen) this.look(one);
    } finally {
      this.inside.close();
    }
    return this.found;
  }

  add(things) {
    for (const one of things) {
      if (one === null || (typeof one !== 'object' && typeof one !== 'function')) continue;
      if (this.seen.size >= kLookedAtMax) return;
      this.seen.add(one);
    }
  }

  look(thing) {
    try {
      if (isProxy(thing)) return this.lookInside(thing);
      if (this.isEnd(thing)) return this.found.push(thing);
      if (thing === this.own || isOfNoInterest(thing)) return undefined;
      if (thing instanceof WeakMap) this.weak.add(thing);
      this.add(valuesOf(thing));
      if (typeof thing === 'function') return mayHold(thing) ? this.lookInside(thing) : undefined;
      this.add(methodsOf(thing));
      if (mayHide(thing)) this.lookInside(thing);
      return this.lookWeakly();
    } catch {
      return undefined; // it does not want to be looked at
    }
  }

  lookInside(thing) {
    if (!isOtlpLoaded) return; // nothing to be found there
    if (this.looks++ < kInsideMax) this.add(this.inside.of(thing));
  }

  lookWeakly() {
    for (const map of this.weak) this.add([...this.seen].map((key) => map.get(key)));
  }
}

// ---- deciding

const around = new WeakMap(); // exporter, or processor of ours → the outlets that have found it behind something
let isAround = false; // whether there is one of these

function partOf(processor) {
  try {
    const exporter = processor._exporter;
    return { processor, onEnd: processor.onEnd, exporter, send: exporter ? exporter.export : undefined };
  } catch {
    return { processor }; // it does not want to be looked at
  }
}

class Outlets {
  // `list()`: the provider's processors; `own`: ours among them.
  constructor(list, own, isOurs) {
    this.list = list;
    this.own = own;
    this.isOurs = isOurs;
    this.looks = 0;
    this.look();
  }

  // Whether our processor writes.
  isOn() {
    if (this.looks < kLooksMax && this.hasChanged()) this.look();
    return this.on;
  }

  hasChanged() {
    const list = this.list();
    const { parts } = this;
    if (list.length !== parts.length) return true;
    for (let i = 0; i < parts.length; ++i) {
      const { processor, onEnd, exporter, send } = parts[i];
      if (list[i] !== processor || processor.onEnd !== onEnd || processor._exporter !== exporter) return true;
      if (exporter && exporter.export !== send) return true;
    }
    return false;
  }

  look() {
    ++this.looks;
    this.parts = this.list().map(partOf);
    this.wrapped = new Set();
    let isDirect = false;
    for (const part of this.parts) {
      if (part.processor !== this.own) isDirect = this.lookAt(part) || isDirect;
    }
    // As long as the program sends them as they are, too, they are written as they are.
    this.on = isDirect || this.wrapped.size === 0;
  }

  // True: its spans go out as they are.
  lookAt({ processor, onEnd, exporter, send }) {
    const isPlain = known.ends.has(onEnd) && !isProxy(processor) && isKnownOrNone(processor._addToBuffer);
    if (isPlain && (!exporter || isPlainOtlp(exporter))) return Boolean(exporter);
    const isForeign = isPlain && known.exports.has(send) && !isProxy(exporter) && !isOtlp(exporter);
    if (isForeign) return false; // the console, the memory
    const isEnd = (thing) => (isOtlp(thing) && signalOf(thing) === 0) || (this.isOurs(thing) && thing !== this.own);
    for (const one of new Search(isEnd, this.own).from(isPlain ? exporter : processor)) {
      isAround = true;
      this.wrapped.add(one);
      if (!around.has(one)) around.set(one, new Set());
      around.get(one).add(this);
    }
    return false;
  }
}

const written = new WeakSet(); // spans that our processor writes, noted once something stands around an exporter

// An exporter may be one provider's as it is, and another's behind something.
function note(span, isOurs) {
  if (!isAround) return;
  if (isOurs) written.add(span);
  else written.delete(span);
}

const isWritten = (span) => written.has(span);

// Whether what this exporter, or processor of ours, is given is to be seen; undefined: nothing stands around it.
function speaks(one) {
  const all = around.get(one);
  if (all === undefined) return undefined;
  for (const outlets of all) {
    if (!outlets.on && outlets.wrapped.has(one)) return true;
  }
  return false;
}

module.exports = { Outlets, speaks, note, isWritten, isPlainOtlp, signalOf, sendsItself, knowProcessor, knowExporter, knowOtlp };
