'use strict';

const test = require('node:test');
const assert = require('node:assert');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { Mailbox, kLost } = require('../lib/mailbox');
const { makeMailbox, readLane, kStride } = require('./mailbox_file');

function makeFile(t, lanes = 20) {
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'runmain-')), 'mailbox');
  makeMailbox(file, lanes);
  t.after(() => fs.rmSync(path.dirname(file), { recursive: true }));
  return file;
}

const put = (w, text) => {
  w.need(text.length);
  w.at += w.bytes.write(text, w.at);
};

test('a file that is no mailbox is not taken', (t) => {
  const file = makeFile(t);
  assert.strictEqual(Mailbox.open(`${file}.none`, 0), undefined);
  fs.truncateSync(file, 5000);
  assert.strictEqual(Mailbox.open(file, 0), undefined);
});

test('a lane is signed, with its resource first, and records are read back', (t) => {
  const file = makeFile(t);
  const mailbox = Mailbox.open(file, 0);
  assert.strictEqual(mailbox.instanceId, 'an-id');
  const lane = mailbox.takeLane(Buffer.from('resource'), 77);
  assert.strictEqual(lane.index, 15);
  const scope = lane.scope('a', 'schema', (w) => put(w, 'scope'));
  assert.strictEqual(scope, 1);
  assert.ok(lane.span(scope, put, 'a span'));
  assert.ok(lane.request(1, Buffer.from('a request')));
  const { lane: seen, records } = readLane(file, 15);
  assert.deepStrictEqual([seen.readUInt32LE(128), seen.readUInt32LE(132)], [1, 1]);
  assert.deepStrictEqual([seen.readUInt32LE(136), seen.readUInt32LE(140)], [process.pid, 77]);
  assert.notStrictEqual(seen.readBigUInt64LE(144), 0n);
  assert.strictEqual(seen.toString('latin1', 4096 + 8, 4096 + 16), 'resource');
  assert.deepStrictEqual(records.map((r) => r.kind), [2, 3]);
  assert.strictEqual(records[0].payload.readUInt32LE(0), 1);
  assert.strictEqual(records[0].payload.toString('latin1', 8), 'a span');
  assert.strictEqual(seen.readBigUInt64LE(16), 1n); // ended
});

test('claims of one child take lanes apart from each other', (t) => {
  const file = makeFile(t);
  const taken = [0, 1].map((claim) => Mailbox.open(file, claim).takeLane(Buffer.alloc(0), 1).index);
  assert.deepStrictEqual(taken, [15, 7]);
  assert.strictEqual(Mailbox.open(file, 0).takeLane(Buffer.alloc(0), 1).index, 14);
});

test('a full ring drops and counts, and goes on when the reader has read', (t) => {
  const file = makeFile(t);
  const lane = Mailbox.open(file, 0).takeLane(Buffer.from('r'), 1);
  const text = 'x'.repeat(1000);
  let written = 0;
  while (lane.span(0, put, text)) ++written;
  assert.strictEqual(written, 8);
  let { lane: seen, records, position } = readLane(file, 15);
  assert.strictEqual(records.length, 8);
  assert.strictEqual(seen.readBigUInt64LE(64), 1n); // lost: full
  assert.strictEqual(seen.readBigUInt64LE(16), 9n);
  for (let round = 0; round < 50; ++round) {
    const fd = fs.openSync(file, 'r+');
    const word = Buffer.alloc(8);
    word.writeBigUInt64LE(BigInt(position));
    fs.writeSync(fd, word, 0, 8, 4096 + 15 * kStride + 192);
    fs.closeSync(fd);
    for (let i = 0; i < 5; ++i) assert.ok(lane.span(0, put, text.slice(i * 37)));
    const next = readLane(file, 15, position);
    assert.strictEqual(next.records.length, 5);
    position = next.position;
  }
});

const kSpan = {
  spanContext: () => ({ traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' }),
  startTime: [1700000000, 123456789],
  kind: 1,
  name: 'ein langer Name mit Umlaut ü'.repeat(5),
};
const turn = () => new Promise((resolve) => setImmediate(resolve));

// How many slots say that a span is open.
function openSlots(file) {
  const { lane } = readLane(file, 15);
  return Array.from({ length: 16 }, (_, i) => lane.readBigUInt64LE(8192 + i * 128)).filter((state) => state !== 0n).length;
}

test('open spans have slots until they end', async (t) => {
  const file = makeFile(t);
  const lane = Mailbox.open(file, 0).takeLane(Buffer.from('r'), 1);
  const index = lane.open(kSpan, 1, undefined, 0x101);
  const at = 8192 + index * 128;
  let { lane: seen } = readLane(file, 15);
  assert.notStrictEqual(seen.readBigUInt64LE(at), 0n);
  assert.strictEqual(seen.readBigUInt64LE(at) % 2n, 0n);
  assert.strictEqual(seen.readBigUInt64LE(at + 8), 1700000000123456789n);
  assert.strictEqual(seen.toString('hex', at + 16, at + 40), '0af7651916cd43dd8448eb211c80319cb7ad6b7169203331');
  assert.ok(seen.readUInt32LE(at + 60) <= 64);
  lane.close(index, true);
  await turn();
  ({ lane: seen } = readLane(file, 15));
  assert.strictEqual(seen.readBigUInt64LE(at), 0n);
  assert.strictEqual(seen.readBigUInt64LE(8), 1n); // started
  const slots = Array.from({ length: 17 }, () => lane.open(kSpan, 1, 'b7ad6b7169203331', 0));
  assert.strictEqual(slots[16], -1);
});

test('a slot is given back before the reader forgets its record, at once without a record, and may be taken before', async (t) => {
  const file = makeFile(t);
  const lane = Mailbox.open(file, 0).takeLane(Buffer.from('r'), 1);
  const first = lane.open(kSpan, 1, undefined, 0);
  lane.span(0, put, 'a');
  lane.close(first, true);
  const state = readLane(file, 15).lane.readBigUInt64LE(8192 + first * 128);
  const second = lane.open(kSpan, 1, undefined, 0);
  assert.strictEqual(second, first);
  assert.notStrictEqual(readLane(file, 15).lane.readBigUInt64LE(8192 + first * 128), state);
  lane.close(second, false);
  assert.strictEqual(openSlots(file), 0);
  const slots = Array.from({ length: 12 }, () => lane.open(kSpan, 1, undefined, 0));
  for (const slot of slots) {
    lane.span(0, put, 'b');
    lane.close(slot, true);
  }
  assert.ok(openSlots(file) <= 4);
  lane.open(kSpan, 1, undefined, 0);
  for (let i = 0; i < 4; ++i) lane.span(0, put, 'of a span that has no slot');
  assert.strictEqual(openSlots(file), 1);
  await turn();
  assert.strictEqual(openSlots(file), 1);
});

test('a record beyond the limit is counted as such', (t) => {
  const lane = Mailbox.open(makeFile(t), 0).takeLane(Buffer.from('r'), 1);
  assert.strictEqual(lane.span(0, put, 'x'.repeat(300000)), false);
  assert.strictEqual(lane.words.getUint32(64 + kLost.tooBig * 8, true), 1);
});
