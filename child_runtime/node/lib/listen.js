// Serving begins when a server listens on the service's address: that claims. Without sockets from runmain it
// is the first TCP listen. The primary of a cluster listens for its workers and never claims; each worker
// claims by itself, though its listen goes through the primary.
'use strict';

const net = require('node:net');
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

function install() {
  const { prototype } = net.Server;
  const { listen } = prototype;
  const addresses = readAddresses(process.env);
  prototype.listen = function (...args) {
    const state = runtime();
    if (state.state === 'unclaimed' && isService(askedFor(args), addresses)) {
      // Behind the listeners of the program's own callback no request can have come yet.
      this.prependOnceListener('listening', () => {
        if (state.state === 'unclaimed' && !isPrimaryWithWorkers()) state.claim(false);
      });
    }
    return listen.apply(this, args);
  };
}

module.exports = { install, askedFor, isService, readAddresses };
