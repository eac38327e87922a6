// Writes into a mailbox (child_runtime/mailbox.h) with pwrite(2), in mode BY_CHECKSUM.
//
// Node cannot receive fds: runmain says where the mailbox is in /proc, and which claim of its child this one
// was, so that no two processes look for a lane at the same place. A lane has one resource and is written by
// this thread alone. Invariant: a record is in the mailbox when write() has returned true; nothing waits; no
// room means drop and count. Non-goal: waking the reader, which looks every 100 ms for such lanes by itself.
'use strict';

const fs = require('node:fs');
const { Writer, TooBig, putHex, putNanoseconds } = require('./wire');
const { crc32c } = require('./crc32c');
const { processStart } = require('./environment');

const kHeaderSize = 128;
const kLaneHead = 256; // four lines of 64 bytes
const kDictionary = 4096;
const kSlotSize = 128;
const kSlotsMax = 4096;
const kLanesMax = 4096;
const kRecordMax = 256 << 10;
const kRecordHead = 16;
const kLanesEach = 8; // lanes that a claim may take before it meets the next one's
const kLanesMain = 4; // of these the main thread's; the others are worker threads', one each
const kNameMax = 64;
const kRecord = { pad: 1, span: 2, request: 3 };
const kEntry = { resource: 1, scope: 2 };
const kTaken = 1;
const kClosed = 2;
const kLost = { full: 0, tooBig: 1, notServing: 3, noMemory: 4 };
const kScopeLost = 0xffffffff;
const kScopesMax = 4096;
const kUnclosedMax = 4; // spans; the reader knows the last eight that it has read
const k32 = 0x100000000;
// Words of a lane's first two lines, eight bytes each.
const kWord = { started: 1, ended: 2, dictionaryUsed: 5, dictionaryFull: 6, openFull: 7, lost: 8 };

const roundUp = (size) => Math.ceil(size / 4096) * 4096;

function readWord(view, at) {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * k32;
}

function putWord(view, at, value) {
  view.setUint32(at, value % k32, true);
  view.setUint32(at + 4, Math.floor(value / k32), true);
}

function readHeader(fd) {
  const bytes = Buffer.alloc(kHeaderSize);
  if (fs.readSync(fd, bytes, 0, kHeaderSize, 0) !== kHeaderSize) return undefined;
  if (bytes.toString('latin1', 0, 8) !== 'RMAILBOX' || bytes.readUInt16LE(8) !== 1) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, kHeaderSize);
  const header = {
    headerSize: bytes.readUInt32LE(12),
    lanes: bytes.readUInt32LE(16),
    shared: bytes.readUInt32LE(20),
    stride: readWord(view, 24),
    dictionarySize: bytes.readUInt32LE(32),
    slots: bytes.readUInt32LE(36),
    ring: readWord(view, 40),
    instanceId: bytes.toString('latin1', 64, 128).split('\0')[0],
  };
  header.slotsAt = kDictionary + roundUp(header.dictionarySize);
  header.ringAt = header.slotsAt + roundUp(header.slots * kSlotSize);
  const fits =
    header.lanes > header.shared && header.lanes <= kLanesMax && header.ring >= 4096 &&
    header.stride >= header.ringAt + header.ring &&
    fs.fstatSync(fd).size >= header.headerSize + header.lanes * header.stride;
  return fits ? header : undefined;
}

class Mailbox {
  // The mailbox at `path`; undefined where it cannot be opened, or is none. `claim`: the number of the grant.
  static open(path, claim) {
    let fd = -1;
    try {
      fd = fs.openSync(path, 'r+');
      const header = readHeader(fd);
      if (header) return new Mailbox(fd, header, claim);
    } catch {
      // another user's runmain, or /proc hidden
    }
    if (fd >= 0) fs.closeSync(fd);
    return undefined;
  }

  constructor(fd, header, claim) {
    this.fd = fd;
    this.header = header;
    this.claim = claim;
    this.pid = process.pid;
    this.pidStarted = processStart();
    this.instanceId = header.instanceId;
  }

  // `processes`: the worker's instance id is taken.
  takeInstance() {
    if (this.claim === 0) this.putU32(136, 1);
  }

  // Lanes of this very process before it executed another program: else each of its programs would keep some.
  closeLanesOfBefore() {
    const line = Buffer.alloc(24); // state, mode, pid, tid, start
    for (let index = this.header.lanes - this.header.shared - 1; index >= 0; --index) {
      const at = this.laneAt(index) + 128;
      fs.readSync(this.fd, line, 0, 24, at);
      const isOurs = line.readUInt32LE(8) === this.pid && line.readBigUInt64LE(16) === BigInt(this.pidStarted);
      if (isOurs && line.readUInt32LE(0) === kTaken) this.putU32(at, kClosed);
    }
  }

  putU32(at, value) {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    fs.writeSync(this.fd, bytes, 0, 4, at);
  }

  laneAt(index) {
    return this.header.headerSize + index * this.header.stride;
  }

  // A lane of our own; undefined if none is free. C's writers search from the first lane on, we from behind,
  // each claim and each worker thread (number `thread`, 0: the main one) from a place of its own.
  takeLane(resource, tid, thread = 0) {
    const own = this.header.lanes - this.header.shared;
    const state = Buffer.alloc(kLaneHead);
    const begin = this.claim * kLanesEach;
    const from = begin + Math.floor(begin / own) + (thread > 0 ? kLanesMain + ((thread - 1) % kLanesMain) : 0);
    for (let i = 0; i < (thread > 0 ? 1 : own); ++i) {
      const index = own - 1 - ((from + i) % own);
      fs.readSync(this.fd, state, 0, kLaneHead, this.laneAt(index));
      if (state.readUInt32LE(128) === 0) return new Lane(this, index, state, resource, tid);
    }
    return undefined;
  }
}

// The two that a lane is written through; this thread writes one record after the other.
const scratch = new Writer(kRecordMax);
const entries = new Writer(kRecordMax);

class Lane {
  constructor(mailbox, index, head, resource, tid) {
    const { header } = mailbox;
    this.fd = mailbox.fd;
    this.at = mailbox.laneAt(index);
    this.ringAt = this.at + header.ringAt;
    this.ring = header.ring;
    this.index = index;
    this.counts = Buffer.alloc(128);
    this.words = new DataView(this.counts.buffer, this.counts.byteOffset, 128);
    const old = new DataView(head.buffer, head.byteOffset, kLaneHead);
    this.write = readWord(old, 0);
    this.read = readWord(old, 192);
    putWord(this.words, 0, this.write);
    const round = old.getUint32(152, true) + 1;
    // With the pid: should we die before the rest is there, the reader knows whose the lane was.
    const line = this.takenLine(mailbox.pid);
    fs.writeSync(this.fd, line, 0, 12, this.at + 128);
    this.dictionarySize = header.dictionarySize;
    this.dictionaryUsed = 0;
    this.entries = 0;
    this.scopes = new Map();
    this.slotsAt = this.at + header.slotsAt;
    this.slotRound = (round & 0x7fff) << 16;
    this.slotNumber = 0;
    const slots = Math.min(header.slots, kSlotsMax);
    this.freeSlots = Array.from({ length: slots }, (_, i) => slots - 1 - i);
    this.unclosed = []; // slots of spans that have ended
    this.unclosedEnds = 0; // spans that have ended since the first of these
    this.unsaved = false; // what is counted
    this.scheduled = false;
    this.slot = Buffer.alloc(kSlotSize);
    this.slotView = new DataView(this.slot.buffer, this.slot.byteOffset, kSlotSize);
    if (round > 1) fs.writeSync(this.fd, Buffer.alloc(slots * kSlotSize), 0, slots * kSlotSize, this.slotsAt);
    fs.writeSync(this.fd, this.counts, 0, 128, this.at);
    this.addEntry(kEntry.resource, resource);
    if (this.entries === 0) this.addEntry(kEntry.resource, new Uint8Array(0));
    this.sign(mailbox, tid, round, line);
  }

  takenLine(pid) {
    const line = Buffer.alloc(32);
    line.writeUInt32LE(kTaken, 0);
    line.writeUInt32LE(1, 4); // by checksum
    line.writeUInt32LE(pid, 8);
    return line;
  }

  // Line 2. `pid_started` says that all of it is there, and so comes last.
  sign(mailbox, tid, round, line) {
    line.writeUInt32LE(tid, 12);
    line.writeUInt32LE(round >>> 0, 24);
    fs.writeSync(this.fd, line, 0, 32, this.at + 128);
    line.writeBigUInt64LE(BigInt(mailbox.pidStarted), 16);
    fs.writeSync(this.fd, line, 16, 8, this.at + 144);
  }

  add(word, by = 1) {
    putWord(this.words, word * 8, readWord(this.words, word * 8) + by);
  }

  // 64 bytes, or both lines where something was lost.
  saveCounts(lost = false) {
    this.unsaved = false;
    fs.writeSync(this.fd, this.counts, 0, lost ? 128 : 64, this.at);
  }

  // What counts starts is written with the next end, or before the program waits again: nothing is balanced
  // by it. So is what takes back the slot of an ended span, if no next span has taken it: a reader that finds
  // both the slot and the record goes by the record.
  settleSoon() {
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(() => {
      this.scheduled = false;
      if (this.unsaved) this.saveCounts();
      this.closeSlots();
    });
  }

  addEntry(kind, payload) {
    const size = (8 + payload.length + 7) & ~7;
    if (size > this.dictionarySize - this.dictionaryUsed) {
      this.add(kWord.dictionaryFull);
      this.saveCounts();
      return kScopeLost;
    }
    const entry = Buffer.alloc(size);
    entry.writeUInt32LE(payload.length, 0);
    entry.writeUInt16LE(kind, 4);
    entry.set(payload, 8);
    fs.writeSync(this.fd, entry, 0, size, this.at + kDictionary + this.dictionaryUsed);
    this.dictionaryUsed += size;
    putWord(this.words, kWord.dictionaryUsed * 8, this.dictionaryUsed);
    this.saveCounts();
    return this.entries++;
  }

  // `key` names the scope, `put` writes its InstrumentationScope.
  scope(key, schemaUrl, put) {
    const known = this.scopes.get(key);
    if (known !== undefined) return known;
    if (this.scopes.size >= kScopesMax) return kScopeLost;
    const schema = Buffer.from(schemaUrl || '');
    entries.at = 8 + schema.length;
    let number = kScopeLost;
    try {
      put(entries);
      entries.view.setUint32(0, schema.length, true);
      entries.view.setUint32(4, 0, true);
      entries.bytes.set(schema, 8);
      number = this.addEntry(kEntry.scope, entries.bytes.subarray(0, entries.at));
    } catch (error) {
      if (!(error instanceof TooBig)) throw error;
    }
    this.scopes.set(key, number);
    return number;
  }

  // Room for `size` bytes at one place of the ring, after a pad record where its end is too near.
  reserve(size) {
    const tail = this.ring - (this.write % this.ring);
    const needed = size <= tail ? size : tail + size;
    if (this.write + needed - this.read > this.ring) {
      const line = Buffer.alloc(8);
      fs.readSync(this.fd, line, 0, 8, this.at + 192);
      this.read = Math.max(this.read, readWord(new DataView(line.buffer, line.byteOffset, 8), 0));
      if (this.write + needed - this.read > this.ring) return false;
    }
    if (size > tail) {
      const pad = Buffer.alloc(kRecordHead);
      const view = new DataView(pad.buffer, pad.byteOffset, kRecordHead);
      sign(pad, view, this.write, tail - kRecordHead, kRecord.pad, kRecordHead);
      fs.writeSync(this.fd, pad, 0, kRecordHead, this.ringAt + (this.write % this.ring));
      this.write += tail;
    }
    return true;
  }

  // A record of `kind`: `first` (a scope or a signal), and what `put` writes. The reason why not, or -1.
  record(kind, first, put, what) {
    const w = scratch;
    w.at = kRecordHead;
    try {
      w.need(8);
      w.view.setUint32(w.at, first, true);
      w.view.setUint32(w.at + 4, 0, true);
      w.at += 8;
      put(w, what);
    } catch (error) {
      if (!(error instanceof TooBig)) throw error;
      return kLost.tooBig;
    }
    const size = (w.at + 15) & ~15;
    if (size > kRecordMax) return kLost.tooBig;
    if (!this.reserve(size)) return kLost.full;
    const length = w.at - kRecordHead;
    w.bytes.fill(0, w.at, size);
    sign(w.bytes, w.view, this.write, length, kind, w.at);
    fs.writeSync(this.fd, w.bytes, 0, size, this.ringAt + (this.write % this.ring));
    this.write += size;
    return -1;
  }

  // False: it is counted as lost. Throws nothing for what a program has put into a span.
  span(scope, put, what) {
    let lost = kLost.noMemory; // it cannot be encoded
    try {
      lost = this.record(kRecord.span, scope, put, what);
    } catch (error) {
      tellOnce(error);
    }
    if (lost >= 0) this.add(kWord.lost + lost);
    this.add(kWord.ended);
    this.saveCounts(lost >= 0);
    if (this.unclosed.length > 0 && ++this.unclosedEnds >= kUnclosedMax) this.closeSlots();
    return lost < 0;
  }

  request(signal, bytes) {
    return this.record(kRecord.request, signal, putBytes, bytes) < 0;
  }

  lose(reason, count) {
    this.add(kWord.started, count);
    this.add(kWord.lost + reason, count);
    this.add(kWord.ended, count);
    this.saveCounts(true);
  }

  // A span that was opened is not written.
  withhold(slot) {
    this.add(kWord.lost + kLost.notServing);
    this.add(kWord.ended);
    this.saveCounts(true);
    if (slot >= 0) this.closeSlot(slot);
  }

  // A slot for a span that has begun, -1 if there is none.
  open(span, scope, parent, flags) {
    this.add(kWord.started);
    this.unsaved = true;
    this.settleSoon();
    const index = this.unclosed.length > 0 ? this.unclosed.pop() : this.freeSlots.pop();
    if (index === undefined) {
      this.add(kWord.openFull);
      return -1;
    }
    const { slot, slotView } = this;
    const { traceId, spanId } = span.spanContext();
    this.slotNumber += 2;
    slotView.setUint32(0, this.slotNumber % k32, true);
    slotView.setUint32(4, (this.slotRound + Math.floor(this.slotNumber / k32)) >>> 0, true);
    putNanoseconds(slotView, 8, span.startTime);
    putHex(slot, 16, traceId);
    putHex(slot, 32, spanId);
    if (parent) putHex(slot, 40, parent);
    else slot.fill(0, 40, 48);
    slotView.setUint32(48, scope, true);
    slotView.setUint32(52, flags, true);
    slotView.setUint32(56, span.kind + 1, true);
    slotView.setUint32(60, slot.write(String(span.name), 64, kNameMax, 'utf8'), true);
    fs.writeSync(this.fd, slot, 0, kSlotSize, this.slotsAt + index * kSlotSize);
    return index;
  }

  // Gives back the slot of a span that has ended. Without a record there is nothing else to go by.
  close(index, isWritten) {
    if (!isWritten) return this.closeSlot(index);
    if (this.unclosed.length === 0) this.unclosedEnds = 0;
    this.unclosed.push(index);
    return this.settleSoon();
  }

  closeSlots() {
    for (const index of this.unclosed) this.closeSlot(index);
    this.unclosed.length = 0;
  }

  closeSlot(index) {
    fs.writeSync(this.fd, kZero, 0, 8, this.slotsAt + index * kSlotSize);
    this.freeSlots.push(index);
  }
}

const kZero = Buffer.alloc(8);

let isTold = false;

function tellOnce(error) {
  if (!isTold) process.emitWarning(`a span cannot be written, ignoring: ${error && error.message}`, 'RunmainWarning');
  isTold = true;
}

function putBytes(w, bytes) {
  w.need(bytes.length);
  w.bytes.set(bytes, w.at);
  w.at += bytes.length;
}

// The head of a record. Its checksum covers the position, so that what an earlier round of the ring has left
// is no record.
function sign(bytes, view, position, length, kind, end) {
  putWord(view, 0, position);
  view.setUint32(8, length, true);
  view.setUint32(12, kind, true); // and version 0
  const checksum = crc32c(bytes, 0, end);
  view.setUint32(0, length, true);
  view.setUint32(4, kind, true);
  view.setUint32(8, checksum, true);
  view.setUint32(12, 0, true);
}

module.exports = { Mailbox, Lane, kLost, kScopeLost, readHeader };
