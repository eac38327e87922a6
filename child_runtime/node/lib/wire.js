// Writes protobuf into one buffer, without objects in between.
//
// Invariant: a message is at most the buffer's size; beyond that TooBig is thrown and what was written is
// void. Non-goal: reading.
'use strict';

class TooBig extends Error {}
const kTooBig = new TooBig('runmain: a record is longer than its limit');

const kShortText = 42; // UTF-16 units that are at most 127 bytes of UTF-8: their length is one byte

class Writer {
  constructor(size) {
    this.bytes = Buffer.allocUnsafe(size);
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, size);
    this.at = 0;
    this.limit = size;
  }

  need(size) {
    if (this.at + size > this.limit) throw kTooBig;
  }

  // Up to 2^53.
  varint(value) {
    this.need(10);
    while (value > 0x7f) {
      this.bytes[this.at++] = (value % 128) | 0x80;
      value = Math.floor(value / 128);
    }
    this.bytes[this.at++] = value;
  }

  // An int64; negative ones take ten bytes.
  int64(value) {
    if (value >= 0) return this.varint(value);
    this.need(10);
    let low = BigInt.asUintN(64, BigInt(value));
    while (low > 0x7fn) {
      this.bytes[this.at++] = Number(low & 0x7fn) | 0x80;
      low >>= 7n;
    }
    this.bytes[this.at++] = Number(low);
  }

  tag(field, type) {
    this.varint(field * 8 + type);
  }

  uint(field, value) {
    if (!(value > 0)) return;
    this.tag(field, 0);
    this.varint(value);
  }

  fixed32(field, value) {
    this.tag(field, 5);
    this.need(4);
    this.view.setUint32(this.at, value, true);
    this.at += 4;
  }

  // [seconds, nanoseconds] since 1970 as nanoseconds, exact without BigInt.
  time(field, time) {
    this.tag(field, 1);
    this.need(8);
    putNanoseconds(this.view, this.at, time);
    this.at += 8;
  }

  // What a program without types names by something else than a text is told as one.
  text(field, value) {
    if (typeof value !== 'string') value = String(value);
    this.tag(field, 2);
    if (value.length <= kShortText) {
      this.need(1 + value.length * 3);
      const from = this.at + 1;
      let i = 0;
      for (; i < value.length; ++i) {
        const unit = value.charCodeAt(i);
        if (unit > 0x7f) break;
        this.bytes[from + i] = unit;
      }
      const size = i === value.length ? i : this.bytes.write(value, from);
      this.bytes[this.at] = size;
      this.at = from + size;
      return;
    }
    const size = Buffer.byteLength(value);
    this.varint(size);
    this.need(size);
    this.at += this.bytes.write(value, this.at);
  }

  blob(field, value) {
    this.tag(field, 2);
    this.varint(value.length);
    this.need(value.length);
    this.bytes.set(value, this.at);
    this.at += value.length;
  }

  // An id, of hexadecimal digits.
  id(field, hex) {
    this.tag(field, 2);
    const size = hex.length >> 1;
    this.need(1 + size);
    this.bytes[this.at++] = size;
    putHex(this.bytes, this.at, hex);
    this.at += size;
  }

  // A message within a message: begin() gives what end() wants.
  begin(field) {
    this.tag(field, 2);
    this.need(1);
    return ++this.at;
  }

  end(from) {
    const size = this.at - from;
    if (size <= 0x7f) {
      this.bytes[from - 1] = size;
      return;
    }
    const more = size < 1 << 14 ? 1 : size < 1 << 21 ? 2 : 3;
    this.need(more);
    this.bytes.copyWithin(from + more, from, this.at);
    const end = this.at + more;
    this.at = from - 1;
    this.varint(size);
    this.at = end;
  }
}

function digit(code) {
  return code <= 57 ? code - 48 : (code | 0x20) - 87;
}

function putHex(bytes, at, hex) {
  for (let i = 0; i + 1 < hex.length; i += 2) {
    bytes[at++] = (digit(hex.charCodeAt(i)) << 4) | digit(hex.charCodeAt(i + 1));
  }
}

const k32 = 0x100000000;

function putNanoseconds(view, at, [seconds, nanoseconds]) {
  const high = Math.floor(seconds / 65536) * 1e9; // of 2^16 ns
  const low = (high % 65536) * 65536 + (seconds % 65536) * 1e9 + nanoseconds;
  view.setUint32(at, low % k32, true);
  view.setUint32(at + 4, Math.floor(high / 65536) + Math.floor(low / k32), true);
}

module.exports = { Writer, TooBig, putHex, putNanoseconds };
