// A mailbox as runmain makes it, but small and in a plain file, and what a reader sees of it.
'use strict';

const fs = require('node:fs');
const { crc32c } = require('../lib/crc32c');

const kRing = 8192;
const kRingAt = 4096 * 3;
const kStride = kRingAt + kRing;

function makeMailbox(file, lanes = 20) {
  const bytes = Buffer.alloc(4096 + lanes * kStride);
  bytes.write('RMAILBOX', 0, 'latin1');
  bytes.writeUInt16LE(1, 8);
  bytes.writeUInt16LE(1, 10);
  bytes.writeUInt32LE(4096, 12);
  bytes.writeUInt32LE(lanes, 16);
  bytes.writeUInt32LE(4, 20);
  bytes.writeUInt32LE(kStride, 24);
  bytes.writeUInt32LE(2048, 32);
  bytes.writeUInt32LE(16, 36);
  bytes.writeUInt32LE(kRing, 40);
  bytes.write('an-id', 64, 'latin1');
  fs.writeFileSync(file, bytes);
}

// A lane in mode BY_CHECKSUM, read from `position` on.
function readLane(file, index, position = 0) {
  const all = fs.readFileSync(file);
  const lane = all.subarray(4096 + index * kStride, 4096 + (index + 1) * kStride);
  const ring = lane.subarray(kRingAt);
  const records = [];
  for (;;) {
    const at = position % kRing;
    const length = ring.readUInt32LE(at);
    const kind = ring.readUInt16LE(at + 4);
    const size = (16 + length + 15) & ~15;
    if (kind === 0 || at + size > kRing) break;
    const payload = kind === 1 ? Buffer.alloc(0) : ring.subarray(at + 16, at + 16 + length);
    const head = Buffer.alloc(16);
    head.writeBigUInt64LE(BigInt(position));
    head.writeUInt32LE(length, 8);
    head.writeUInt16LE(kind, 12);
    if (crc32c(Buffer.concat([head, payload])) !== ring.readUInt32LE(at + 8)) break;
    if (kind !== 1) records.push({ kind, payload: Buffer.from(payload) });
    position += size;
  }
  return { lane, records, position };
}

module.exports = { makeMailbox, readLane, kRing, kStride };
