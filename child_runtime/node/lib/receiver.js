// The observer's receiver, over HTTP: for who has no mailbox. A request is in the kernel's hands before send() returns
// if a connection rests by then, and so outlives the process; what waits for one (the first connection is being made,
// or all are waiting for answers) is lost with a SIGKILL.
//
// Invariants: a connection has one request under way at a time, since the receiver reads no further one of a client
// that it cannot answer; what waits is bounded in bytes and then dropped and counted; nothing of it is traced.
// Non-goal: retries, but for a connection that was closed while it rested; the observer is on this machine.
'use strict';

const { Connection } = require('./connection');

const kWaitingMax = 4 << 20; // bytes
const kRequestMax = 512 << 10;
const kConnectionsMax = 8;
const kConnectionsAhead = 4; // spans of a request often end together
const kAgainMs = 1000; // 503's Retry-After
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
    this.fields = Object.entries(readHeaders(env.OTEL_EXPORTER_OTLP_HEADERS)).map(([name, value]) => `${name}: ${value}\r\n`);
    this.quietly = quietly;
    this.waiting = [[], [], []];
    this.bytes = 0; // of these, and of what has no answer yet
    this.dropped = 0;
    this.connections = [];
  }

  get usable() {
    return this.base.startsWith('http://');
  }

  // `bytes`: a part of a request; parts put together are one (their repeated fields follow each other).
  send(signal, bytes) {
    if (!this.usable || this.bytes + bytes.length > kWaitingMax) {
      ++this.dropped;
      return false;
    }
    this.waiting[signal].push(Buffer.from(bytes));
    this.bytes += bytes.length;
    this.quietly(() => this.next());
    return true;
  }

  next() {
    for (;;) {
      const signal = this.waiting.findIndex((list) => list.length > 0);
      if (signal < 0) return;
      const free = this.connections.find((one) => one.rests());
      if (!free) return this.open();
      free.post(this.headOf(signal), this.takeParts(signal), signal);
    }
  }

  open() {
    const { connections } = this;
    if (connections.length >= kConnectionsMax || connections.some((one) => one.isConnecting)) return;
    const { hostname, port } = new URL(this.base);
    connections.push(new Connection(this, hostname, Number(port) || 80));
  }

  takeParts(signal) {
    const parts = [];
    let size = 0;
    while (this.waiting[signal].length > 0 && size < kRequestMax) {
      const part = this.waiting[signal].shift();
      size += part.length;
      parts.push(part);
    }
    return Buffer.concat(parts, size);
  }

  headOf(signal) {
    const { host, pathname } = new URL(this.base);
    return (
      `POST ${pathname}${kPaths[signal]} HTTP/1.1\r\nhost: ${host}\r\n${this.fields.join('')}` +
      'content-type: application/x-protobuf\r\n'
    );
  }

  // ---- of a connection

  opened() {
    this.next();
    if (this.connections.length < kConnectionsAhead) this.quietly(() => this.open());
  }

  answered({ signal, body }, status) {
    if (status === 503) {
      setTimeout(() => this.unsent(signal, body), kAgainMs); // it has no room now
    } else {
      this.bytes -= body.length;
      if (status !== 200) ++this.dropped;
    }
    this.next();
  }

  // Nobody has taken it.
  unsent(signal, body) {
    this.waiting[signal].unshift(body);
    this.quietly(() => this.next());
  }

  closed(connection) {
    this.connections = this.connections.filter((one) => one !== connection);
    this.quietly(() => this.next());
  }

  // Nobody listens there.
  refused(connection) {
    this.connections = this.connections.filter((one) => one !== connection);
    for (const list of this.waiting) {
      for (const part of list.splice(0)) {
        this.bytes -= part.length;
        ++this.dropped;
      }
    }
  }
}

module.exports = { Receiver };
