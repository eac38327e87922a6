// Serving begins when a server listens on the service's address: that claims. Without sockets from runmain it
// is the first TCP listen. The primary of a cluster listens for its workers and never claims; each worker
// claims by itself, though its listen goes through the primary.
//
// Invariant: no request is served before a claim is answered (within channel.js's limit). The server listens
// as ever; its 'connection' events are held until then, and follow in their order. This is below TLS and
// HTTP, whose servers take what has been received meanwhile out of the socket. Who only listens beside another
// process of the child that has the role never serves.
'use strict';

const net = require('node:net');
const { AsyncResource } = require('node:async_hooks');
const { runtime } = require('./runtime');

const kFirst = 3; // LISTEN_FDS

// What runmain has bound for the service, by its environment: ports and paths, and their number.
function readAddresses(env) {
  const ports = new Set();
  const paths = new Set();
  for (const entry of (env.SERVER_STARTER_PORT || '').split(';')) {
    const address = entry.slice(0, Math.max(0, entry.lastIndexOf('=')));
    const port = /(?:^|:)(\d+)$/.exec(address);
    if (port) ports.add(Number(port[1]));
    else if (address) paths.add(address);
  }
  return { ports, paths, count: Number(env.LISTEN_FDS) || 0 };
}

// { port } | { path } | { fd } | { handle } of listen's arguments.
function askedFor(args) {
  const [first] = args;
  if (first === null || first === undefined || typeof first === 'function') return { port: 0 };
  if (typeof first === 'number') return { port: first };
  if (typeof first === 'string') return /^\d+$/.test(first) ? { port: Number(first) } : { path: first };
  if (typeof first !== 'object') return {};
  if (first._handle || first.handle || typeof first.getsockname === 'function') return { handle: true };
  if (typeof first.fd === 'number') return { fd: first.fd };
  if (first.port !== undefined && first.port !== null) return { port: Number(first.port) };
  return first.path ? { path: first.path } : { port: 0 };
}

function isService(asked, addresses) {
  if (addresses.count === 0) return asked.path === undefined;
  if (asked.handle) return true;
  if (asked.fd !== undefined) return asked.fd >= kFirst && asked.fd < kFirst + addresses.count;
  return asked.path !== undefined ? addresses.paths.has(asked.path) : addresses.ports.has(asked.port);
}

function isPrimaryWithWorkers() {
  const cluster = require('node:cluster');
  return cluster.isPrimary && Object.keys(cluster.workers || {}).length > 0;
}

function ignoreError() {} // the socket is destroyed by it, and then is not handed on

// What a server of the service's accepts, around the claims of `state`: held while one is under way, handed on
// behind it. A claim of a listen that was refused, since another process of the child has the role, is asked for
// again with the first connection: who gets one serves.
class Gate {
  constructor(server, state) {
    this.server = server;
    this.state = state;
    this.held = [];
    this.isOpen = false;
    const { emit } = server;
    this.own = Object.prototype.hasOwnProperty.call(server, 'emit') ? emit : undefined;
    const gate = this;
    this.emit = function (name, socket) {
      if (!gate.isOpen && name === 'connection' && socket instanceof net.Socket && gate.takes(socket)) return true;
      return (gate.own || Object.getPrototypeOf(this).emit).apply(this, arguments);
    };
    server.emit = this.emit;
    this.wait();
  }

  wait() {
    this.state.afterClaim.push(() => this.answered());
  }

  // False: the program may have it at once.
  takes(socket) {
    if (this.mayInsist()) {
      this.state.claim(true);
      this.wait();
    }
    if (this.state.state !== 'asking') return false;
    socket.on('error', ignoreError);
    // It follows in this context: whoever claims has no part in it.
    this.held.push({ socket, resource: new AsyncResource('RUNMAIN_HELD') });
    return true;
  }

  mayInsist() {
    return this.state.state === 'refused' && !this.state.insisted;
  }

  answered() {
    if (this.held.length > 0 && this.mayInsist()) this.state.claim(true);
    if (this.state.state === 'asking') return this.wait(); // this one, or another server
    if (this.mayInsist()) return undefined;
    return this.open();
  }

  open() {
    const { server, held } = this;
    this.isOpen = true;
    if (server.emit === this.emit) {
      if (this.own) server.emit = this.own;
      else delete server.emit;
    }
    this.held = [];
    for (const one of held) handOn(server, one);
  }
}

function handOn(server, { socket, resource }) {
  if (socket.destroyed) return;
  socket.removeListener('error', ignoreError);
  try {
    resource.runInAsyncScope(server.emit, server, 'connection', socket);
  } catch (error) {
    process.nextTick(() => {
      throw error; // of the program's listener; the others are handed on before
    });
  }
}

const addresses = readAddresses(process.env);

// `server` is about to listen, with `args`.
function before(server, args) {
  const state = runtime();
  const isRefused = state.state === 'refused' && !state.token.wiped && !state.insisted;
  const isOpen = state.state === 'unclaimed' || state.state === 'asking' || isRefused;
  if (!isOpen || !isService(askedFor(args), addresses)) return;
  // Before the listeners of the program's own callback; no connection can have come yet.
  server.prependOnceListener('listening', () => {
    if (isPrimaryWithWorkers()) return;
    if (state.state !== 'asking' && !state.hasListened) state.claim(false); // also where a span's claim came too early
    state.hasListened = true;
    if (state.state === 'asking' || state.state === 'refused') new Gate(server, state);
  });
}

module.exports = { before, askedFor, isService, readAddresses };
