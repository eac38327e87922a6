// Reads protobuf without a schema: fields in order of their numbers, with nested bytes as hexadecimal digits.
'use strict';

function varint(bytes, at) {
  let value = 0n;
  for (let shift = 0n; ; shift += 7n) {
    const byte = bytes[at++];
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) return [value, at];
  }
}

function fields(bytes) {
  const found = [];
  for (let at = 0; at < bytes.length; ) {
    let key;
    [key, at] = varint(bytes, at);
    const type = Number(key & 7n);
    let value;
    if (type === 0) [value, at] = varint(bytes, at);
    else {
      let size = type === 1 ? 8 : 4;
      if (type === 2) {
        [value, at] = varint(bytes, at);
        size = Number(value);
      }
      value = Buffer.from(bytes.subarray(at, at + size));
      at += size;
    }
    found.push({ field: Number(key >> 3n), type, value });
  }
  return found;
}

// The tree of a message; `nested`: { field: nested } of fields that are messages.
function tree(bytes, nested) {
  return fields(bytes)
    .map(({ field, type, value }) => {
      if (nested[field] && type === 2) return [field, tree(value, nested[field])];
      return [field, Buffer.isBuffer(value) ? value.toString('hex') : value.toString()];
    })
    .sort((a, b) => a[0] - b[0]);
}

const kValue = {};
kValue[5] = { 1: kValue };
const kAttribute = { 2: kValue };
kValue[6] = { 1: kAttribute };
const kSpan = { 9: kAttribute, 11: { 3: kAttribute }, 13: { 4: kAttribute }, 15: {} };

module.exports = { fields, tree, kSpan, kAttribute };
