// The observer's receiver, over HTTP: for who has no mailbox. What is sent may be lost by SIGKILL.
//
// Invariant: one request is under way at a time; what waits is bounded in bytes and then dropped and counted.
// Non-goal: retries beyond one; the observer is on this machine.
'use strict';

const kWaitingMax = 4 << 20; // bytes
const kRequestMax = 512 << 10;
const kTimeoutMs = 5000;
const kPaths = ['v1/traces', 'v1/metrics', 'v1/logs'];

function readHeaders(text) {
  const headers = {};
  for (const part of (text || '').split(',')) {
    const at = part.indexOf('=');
    if (at > 0) headers[part.slice(0, at).trim()] = decodeURIComponent(part.slice(at + 1).trim());
  }
  return headers;
}

class Receiver {
  // `quietly` runs a function so that nothing in it is traced.
  constructor(env, quietly) {
    this.base = (env.OTEL_EXPORTER_OTLP_ENDPOINT || '').replace(/\/*$/, '/');
    this.headers = readHeaders(env.OTEL_EXPORTER_OTLP_HEADERS);
    this.quietly = quietly;
    this.waiting = [[], [], []];
    this.bytes = 0;
    this.dropped = 0;
    this.busy = false;
    this.scheduled = false;
    this.agent = undefined;
  }

  get usable() {
    return this.base.startsWith('http://');
  }

  // `parts`: bytes of a request; requests put together are one (their repeated fields follow each other).
  send(signal, bytes) {
    if (!this.usable || this.bytes + bytes.length > kWaitingMax) {
      ++this.dropped;
      return false;
    }
    this.waiting[signal].push(Buffer.from(bytes));
    this.bytes += bytes.length;
    if (!this.scheduled && !this.busy) {
      this.scheduled = true;
      setImmediate(() => this.next());
    }
    return true;
  }

  next() {
    this.scheduled = false;
    if (this.busy) return;
    const signal = this.waiting.findIndex((list) => list.length > 0);
    if (signal < 0) return;
    const parts = [];
    let size = 0;
    while (this.waiting[signal].length > 0 && size < kRequestMax) {
      const part = this.waiting[signal].shift();
      size += part.length;
      parts.push(part);
    }
    this.busy = true;
    const done = () => {
      if (!this.busy) return;
      this.busy = false;
      this.bytes -= size;
      if (this.idle) this.idle();
      this.next();
    };
    this.quietly(() => this.post(signal, Buffer.concat(parts, size), done));
  }

  post(signal, body, done) {
    const http = require('node:http');
    this.agent = this.agent || new http.Agent({ keepAlive: true, maxSockets: 1 });
    const request = http.request(this.base + kPaths[signal], {
      method: 'POST',
      agent: this.agent,
      timeout: kTimeoutMs,
      headers: { ...this.headers, 'content-type': 'application/x-protobuf', 'content-length': body.length },
    });
    request.on('response', (response) => {
      response.resume();
      response.on('close', done);
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => {
      ++this.dropped;
      done();
    });
    request.end(body);
  }
}

module.exports = { Receiver };
