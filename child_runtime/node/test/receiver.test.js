// Without a mailbox: what has ended is on its way to the observer's receiver before the program goes on.
'use strict';

const test = require('node:test');
const assert = require('node:assert');
const net = require('node:net');
const path = require('node:path');
const { packages } = require('./packages');
const { Channel } = require('./channel');
const { Receiver } = require('../lib/receiver');
const { readAnswer } = require('../lib/connection');
const { until, spansOf } = require('./runmain');

const kOk = 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n';

// Requests as they come; `answer(number, socket)` answers each.
async function receiving(t, answer) {
  const seen = { bodies: [], connections: 0, heads: [] };
  const server = net.createServer((socket) => {
    ++seen.connections;
    let bytes = Buffer.alloc(0);
    socket.on('error', () => {});
    socket.on('data', (more) => {
      bytes = Buffer.concat([bytes, more]);
      for (;;) {
        const end = bytes.indexOf('\r\n\r\n');
        const head = bytes.toString('latin1', 0, Math.max(0, end));
        const size = Number((/content-length: (\d+)/.exec(head) || [])[1]);
        if (end < 0 || bytes.length < end + 4 + size) return;
        seen.heads.push(head);
        seen.bodies.push(bytes.subarray(end + 4, end + 4 + size));
        bytes = bytes.subarray(end + 4 + size);
        answer(seen.bodies.length, socket);
      }
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  seen.server = server;
  seen.endpoint = `http://127.0.0.1:${server.address().port}`;
  return seen;
}

function makeReceiver(t, endpoint) {
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_EXPORTER_OTLP_HEADERS: 'runmain-token=a%20b' };
  const receiver = new Receiver(env, (fn) => fn());
  t.after(() => receiver.connections.forEach((one) => one.socket.destroy()));
  return receiver;
}

test('spans that end together outlive a SIGKILL in the same turn', async (t) => {
  const seen = await receiving(t, (number, socket) => setTimeout(() => socket.write(kOk), 50));
  const channel = new Channel(t);
  const child = await channel.start(`
const { BasicTracerProvider } = require('node:module').createRequire(${JSON.stringify(path.join(packages('current'), 'x.js'))})('@opentelemetry/sdk-trace-base');
const tracer = new BasicTracerProvider().getTracer('a');
require('node:net').createServer().listen(0, () => {
  tracer.startSpan('first').end();
  setTimeout(() => {
    for (let i = 0; i < 4; ++i) tracer.startSpan('together ' + i).end();
    process.kill(process.pid, 'SIGKILL');
  }, 1000);
});`, { RUNMAIN_CHANNEL: '/nowhere', OTEL_EXPORTER_OTLP_ENDPOINT: seen.endpoint });
  assert.strictEqual(await child.ended, 'SIGKILL');
  await until('all are there', () => seen.bodies.length >= 5, 5000);
  const names = seen.bodies.flatMap((body) => spansOf(body).map((span) => span.name)).sort();
  assert.deepStrictEqual(names, ['first', 'together 0', 'together 1', 'together 2', 'together 3']);
});

test('a request at a time on a connection, and what waits goes together', async (t) => {
  let open = [];
  const seen = await receiving(t, (number, socket) => open.push(socket));
  const receiver = makeReceiver(t, seen.endpoint);
  for (let i = 0; i < 3; ++i) receiver.send(0, Buffer.from('a'));
  await until('it is there', () => seen.bodies.length === 1, 5000);
  assert.strictEqual(seen.bodies[0].toString(), 'aaa');
  assert.match(seen.heads[0], /^POST \/v1\/traces HTTP\/1.1\r\nhost: 127.0.0.1:\d+\r\nrunmain-token: a b\r\n/);
  for (let i = 0; i < 100; ++i) {
    receiver.send(1, Buffer.from('b'));
    if (i % 10 === 0) await new Promise(setImmediate);
  }
  await until('there are no more', () => receiver.connections.length === 8 && receiver.connections.every((one) => one.request), 5000);
  assert.strictEqual(new Set(open).size, open.length);
  const answer = () => open.splice(0).forEach((socket) => socket.write(kOk));
  await until('all are there', () => (answer(), receiver.bytes === 0), 5000);
  assert.strictEqual(seen.bodies.map(String).join(''), `aaa${'b'.repeat(100)}`);
  assert.deepStrictEqual([receiver.dropped, seen.connections], [0, 8]);
});

test('a connection that was closed while it rested costs nothing, and 503 is tried again', async (t) => {
  let answers = [];
  const seen = await receiving(t, (number, socket) => {
    const answer = answers.shift();
    if (answer) socket.write(answer);
    else socket.destroy();
  });
  const receiver = makeReceiver(t, seen.endpoint);
  answers = [kOk, '', kOk, 'HTTP/1.1 503 no\r\nretry-after: 1\r\ncontent-length: 2\r\n\r\nno', kOk];
  for (const text of ['one', 'two', 'three']) {
    receiver.send(0, Buffer.from(text));
    await until('it is taken', () => receiver.bytes === 0, 5000);
  }
  assert.deepStrictEqual([receiver.dropped, receiver.bytes], [0, 0]);
  assert.deepStrictEqual(seen.bodies.map(String), ['one', 'two', 'two', 'three', 'three']);
});

test('nobody listens, or breaks off: it is counted, and nothing is held', async (t) => {
  const seen = await receiving(t, (number, socket) => socket.end('HTTP/1.1 500 no\r\nconnection: close\r\n\r\n'));
  const receiver = makeReceiver(t, seen.endpoint);
  receiver.send(0, Buffer.from('x'));
  await until('it is counted', () => receiver.dropped === 1, 5000);
  assert.strictEqual(receiver.bytes, 0);
  seen.server.close();
  const nobody = makeReceiver(t, 'http://127.0.0.1:9');
  nobody.send(0, Buffer.from('x'));
  await until('it is counted', () => nobody.dropped === 1, 5000);
  assert.deepStrictEqual([nobody.bytes, nobody.connections.length], [0, 0]);
});

test('answers, however they are cut', () => {
  for (const text of [kOk, 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab']) {
    for (let i = 0; i < text.length; ++i) assert.strictEqual(readAnswer(text.slice(0, i)), undefined);
    assert.deepStrictEqual(readAnswer(text), { status: 200, keeps: true });
  }
});
