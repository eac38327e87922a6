// The records of a process for `runmain doctor` (docs/doctor-records.md): $RUNMAIN_DOCTOR/PID.jsonl, one line one write.
// Ids of objects and call stacks are made here, too.
//
// Invariant: of a span that has a `start` every `activate` and `end` is written as well, so that a full file does not
// make a span look as if it had never ended. What this uses of Node is what was there before the program could wrap it.
'use strict';

const { constants, openSync, writeSync } = require('node:fs');
const { findSourceMap } = require('node:module');
const path = require('node:path');
const { fileURLToPath } = require('node:url');

const kAppend = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW;
const kLinesMax = 4096;
const kLineBytesMax = 16 << 10;
const kTextMax = 512; // characters of one text
const kListMax = 32;
const kBudgets = { start: 1000, export: 300 }; // lines; a start has up to two more
const kBounded = new Set(['activate', 'end', 'exit']); // by their starts; and once
const kOthersMax = kLinesMax - 2 - 3 * kBudgets.start - kBudgets.export; // `full` and `exit` have room
const kFramesMax = 12;
const kSitesMax = 64;
const kOurs = path.join(__dirname, 'probe');
const kMachinery = /[/\\](require-in-the-middle|import-in-the-middle)[/\\]/;

const { hrtime } = process;

// Texts as short as a record needs them, whatever the program's are.
function shortened(value, depth = 0) {
  if (typeof value === 'string') return value.length > kTextMax ? `${value.slice(0, kTextMax)}…` : value;
  if (Array.isArray(value)) return value.slice(0, kListMax).map((one) => shortened(one, depth + 1));
  if (value === null || typeof value !== 'object') return value;
  if (depth > 2) return undefined;
  const entries = Object.entries(value).slice(0, kListMax);
  return Object.fromEntries(entries.map(([key, one]) => [key, shortened(one, depth + 1)]));
}

class Records {
  // `folder`: where the file is made, at the first record. Where that fails nothing is written.
  constructor(folder) {
    this.file = path.join(folder, `${process.pid}.jsonl`);
    this.fd = undefined;
    this.counts = { start: 0, export: 0, others: 0 };
    this.dropped = 0;
    this.isFull = false;
    this.ids = new WeakMap();
    this.lastId = 0;
  }

  // Runs a hook; what fails in it is not the program's.
  safely(hook) {
    try {
      return hook();
    } catch {
      return undefined;
    }
  }

  // A small number, the same for one object as long as it lives.
  id(object) {
    let id = this.ids.get(object);
    if (id === undefined) this.ids.set(object, (id = ++this.lastId));
    return id;
  }

  // Whether one more of this kind is taken.
  takes(kind) {
    return kBounded.has(kind) || this.counts[keyOf(kind)] < (kBudgets[kind] || kOthersMax);
  }

  // False: not written, the bound is reached or the file cannot be.
  write(kind, fields) {
    if (!this.takes(kind)) return this.drop();
    const line = `{"k":"${kind}","t":${hrtime.bigint()},"pid":${process.pid}${inside(fields)}}\n`;
    const bytes = Buffer.from(line);
    if (bytes.length > kLineBytesMax) return this.drop();
    if (!kBounded.has(kind)) ++this.counts[keyOf(kind)];
    return this.append(bytes);
  }

  drop() {
    ++this.dropped;
    if (this.isFull) return false;
    this.isFull = true;
    this.append(Buffer.from(`{"k":"full","t":${hrtime.bigint()},"pid":${process.pid}}\n`));
    return false;
  }

  append(bytes) {
    try {
      if (this.fd === undefined) this.fd = openSync(this.file, kAppend, 0o644); // libuv adds O_CLOEXEC
      writeSync(this.fd, bytes);
      return true;
    } catch {
      return false;
    }
  }
}

function keyOf(kind) {
  return kind in kBudgets ? kind : 'others';
}

function inside(fields) {
  const text = JSON.stringify(shortened(fields));
  return text === '{}' ? '' : `,${text.slice(1, -1)}`;
}

// ---- call stacks

// The call sites of whoever has called us. A program's own prepareStackTrace does not run.
function sites() {
  const { prepareStackTrace, stackTraceLimit } = Error;
  try {
    Error.prepareStackTrace = (error, found) => found;
    Error.stackTraceLimit = kSitesMax;
    const holder = {};
    Error.captureStackTrace(holder, sites);
    return Array.isArray(holder.stack) ? holder.stack : [];
  } finally {
    Error.prepareStackTrace = prepareStackTrace;
    Error.stackTraceLimit = stackTraceLimit;
  }
}

// As it was written, where a compiler has left a map.
function mapped(file, line, column) {
  const map = process.sourceMapsEnabled === false ? undefined : findSourceMap(file);
  const entry = map && map.findEntry(line - 1, column - 1);
  if (!entry || !entry.originalSource) return [file, line];
  const { originalSource: source } = entry;
  return [source.startsWith('file:') ? fileURLToPath(source) : source, entry.originalLine + 1];
}

function frameOf(site) {
  let file = site.getFileName();
  if (!file || file.startsWith('node:') || site.isNative()) return undefined;
  if (file.startsWith('file:')) file = fileURLToPath(file);
  if (file.startsWith(kOurs) || kMachinery.test(file)) return undefined;
  const [at, line] = mapped(file, site.getLineNumber(), site.getColumnNumber());
  return { file: at, place: `${at}:${line}`, name: site.getFunctionName() || site.getMethodName() || '<anonymous>' };
}

// Frames, innermost first, without Node's, the probe's and the machinery of imports: { file, place, name } of each.
// `below`: only those that called this file of Node's.
function frames(below) {
  const all = sites();
  const at = below ? all.findIndex((site) => site.getFileName() === below) : -1;
  return all.slice(at + 1).map(frameOf).filter(Boolean);
}

function textOf(frame) {
  return `${frame.place} ${frame.name}`;
}

// As the records have it.
function stack() {
  return frames().slice(0, kFramesMax).map(textOf);
}

function stackOf(all) {
  return all.slice(0, kFramesMax).map(textOf);
}

// ---- wrapping

// `make(original)` gives what stands in for `object[name]`; it looks like the original.
function wrap(object, name, make) {
  const original = object && object[name];
  if (typeof original !== 'function') return false;
  const wrapped = make(original);
  for (const key of ['name', 'length']) {
    Object.defineProperty(wrapped, key, { value: original[key], configurable: true });
  }
  const before = Object.getOwnPropertyDescriptor(object, name);
  const enumerable = before ? before.enumerable : false;
  Object.defineProperty(object, name, { value: wrapped, writable: true, configurable: true, enumerable });
  return true;
}

module.exports = { Records, frames, stack, stackOf, textOf, wrap };
