// CRC-32C (Castagnoli, reflected), as a record of a mailbox carries it; zlib's crc32 is another polynomial.
'use strict';

const kPolynomial = 0x82f63b78;
const kSlices = 4;

const tables = Array.from({ length: kSlices }, () => new Int32Array(256));
for (let i = 0; i < 256; ++i) {
  let crc = i;
  for (let bit = 0; bit < 8; ++bit) crc = (crc >>> 1) ^ ((crc & 1) !== 0 ? kPolynomial : 0);
  tables[0][i] = crc;
}
for (let t = 1; t < kSlices; ++t) {
  for (let i = 0; i < 256; ++i) {
    tables[t][i] = (tables[t - 1][i] >>> 8) ^ tables[0][tables[t - 1][i] & 0xff];
  }
}
const [t0, t1, t2, t3] = tables;

// Of bytes[from, to). Four bytes a step ("slicing").
function crc32c(bytes, from = 0, to = bytes.length) {
  let crc = -1;
  let at = from;
  for (; at + 4 <= to; at += 4) {
    crc ^= bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    crc = t3[crc & 0xff] ^ t2[(crc >>> 8) & 0xff] ^ t1[(crc >>> 16) & 0xff] ^ t0[crc >>> 24];
  }
  for (; at < to; ++at) crc = (crc >>> 8) ^ t0[(crc ^ bytes[at]) & 0xff];
  return ~crc >>> 0;
}

module.exports = { crc32c };
