// Serving begins when a server listens on the service's address: that claims. Without sockets from runmain it
// is the first TCP listen. The primary of a cluster listens for its workers and never claims; each worker
// claims by itself, though its listen goes through the primary.
//
// Invariant: no request is served before the claim is answered (within channel.js's limit). The server listens
// as ever; its 'connection' events are held until then, and follow in their order. This is below TLS and
// HTTP, whose servers take what has been received meanwhile out of the socket.
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

// Holds what `server` accepts until `state`'s claim is answered.
function hold(server, state) {
  const held = [];
  let holding = true;
  const { emit } = server;
  const isOwn = Object.prototype.hasOwnProperty.call(server, 'emit');
  const holdingEmit = function (name, socket) {
    if (holding && name === 'connection' && socket instanceof net.Socket) {
      socket.on('error', ignoreError);
      // It follows in this context: whoever claims has no part in it.
      held.push({ socket, resource: new AsyncResource('RUNMAIN_HELD') });
      return true;
    }
    return (isOwn ? emit : Object.getPrototypeOf(this).emit).apply(this, arguments);
  };
  server.emit = holdingEmit;
  state.afterClaim.push(() => {
    holding = false;
    if (server.emit === holdingEmit) {
      if (isOwn) server.emit = emit;
      else delete server.emit;
    }
    for (const one of held) handOn(server, one);
  });
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
  const mayAskAgain = state.state === 'refused' && state.byTheWay; // a span's claim came too early
  const isOpen = state.state === 'unclaimed' || state.state === 'asking' || mayAskAgain;
  if (!isOpen || !isService(askedFor(args), addresses)) return;
  // Before the listeners of the program's own callback; no connection can have come yet.
  server.prependOnceListener('listening', () => {
    if (isPrimaryWithWorkers()) return;
    if (state.state !== 'asking') state.claim(false);
    if (state.state === 'asking') hold(server, state);
  });
}

module.exports = { before, askedFor, isService, readAddresses };
