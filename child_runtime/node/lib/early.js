// What each Node process below runmain gets that may come to serve: two hooks, which load the rest when there
// is something to do, at a listen or a library.
//
// Invariant: a process that never listens and loads no library of these pays for this file alone.
'use strict';

const Module = require('node:module');
const { ownToken } = require('./environment');

// Names at which there is something to instrument; file system, sockets and names come with each of them.
const kLibraries = new Set(
  (
    'http https http2 express fastify koa @koa/router @hapi/hapi restify connect router @nestjs/core next ' +
    'pg pg-pool mysql mysql2 mongodb mongoose redis @redis/client ioredis @grpc/grpc-js undici graphql knex ' +
    'amqplib kafkajs pino winston bunyan aws-sdk cassandra-driver memcached generic-pool dataloader tedious ' +
    'socket.io lru-memoizer oracledb openai'
  ).split(' '),
);
const kSdk = '@opentelemetry';
const kApi = Symbol.for('opentelemetry.js.api.1');

let waitsForLibrary = false;
let waitsForChildren = false; // of a process that may come to serve

// What fails in here is never the program's: it may have changed its user, and our files are out of reach.
let failed = false;
function safely(fn) {
  try {
    return fn();
  } catch (error) {
    if (!failed) process.emitWarning(`no telemetry, ignoring: ${error && error.message}`, 'RunmainWarning');
    failed = true;
    return undefined;
  }
}

function isLibrary(request, parent) {
  const name = request.startsWith('node:') ? request.slice(5) : request;
  if (!kLibraries.has(name) && !name.startsWith('@aws-sdk/')) return false;
  const by = (parent && parent.filename) || '';
  return !by.startsWith(__dirname) && !/[/\\]@(opentelemetry|grpc)[/\\]/.test(by);
}

function isOfChildren(request, parent) {
  const by = (parent && parent.filename) || '';
  return (request === 'child_process' || request === 'node:child_process') && !by.startsWith(__dirname);
}

function hookLoad() {
  const load = Module._load;
  Module._load = function (request, parent, isMain) {
    if (typeof request !== 'string') return load.apply(this, arguments);
    if (waitsForLibrary && isLibrary(request, parent)) {
      waitsForLibrary = false;
      safely(() => require('./auto').startOnce());
    }
    if (waitsForChildren && isOfChildren(request, parent)) {
      waitsForChildren = false;
      safely(() => require('./children').wrapSync());
    }
    if (!request.includes(kSdk)) return load.apply(this, arguments);
    const hooks = safely(() => {
      const found = require('./sdk_hooks');
      found.install();
      return found;
    });
    if (!hooks) return load.apply(this, arguments);
    const exports = load.apply(this, arguments);
    hooks.loaded(request, exports, (name) => Module.createRequire(Module._resolveFilename(request, parent, isMain))(name));
    return exports;
  };
}

let listens = false;
const unwrapped = { connect: undefined }; // of net.Socket, before an instrumentation can wrap it

function hookListen() {
  if (listens) return;
  listens = true;
  const { Server, Socket } = require('node:net');
  unwrapped.connect = Socket.prototype.connect;
  const { prototype } = Server;
  const { listen } = prototype;
  prototype.listen = function (...args) {
    safely(() => require('./listen').before(this, args));
    return listen.apply(this, args);
  };
}

function installAuto() {
  if (require('./program').isModuleProgram()) require('./auto').startWithImports();
  else waitsForLibrary = true;
}

// A parent that hands a socket makes its child one that serves. If the parent has the role it tells the token
// before (children.js). Node keeps messages of these names from the program; to hear them keeps nothing alive.
function hookHanded(env) {
  process.prependListener('internalMessage', (message) => {
    if (message.cmd === 'NODE_HANDLE') safely(() => (require('./runtime').runtime().isHanded = true));
    else if (message.cmd === 'NODE_RUNMAIN_TOKEN') safely(() => becomeServer(env, message.token));
  });
}

function becomeServer(env, token) {
  if (!require('./runtime').runtime().takeToken(String(token))) return;
  waitsForChildren = true;
  hookListen();
  if (env.RUNMAIN_AUTO !== '1') return;
  require('./auto').startOnce();
  for (const name of ['http', 'https']) require(name); // instrumented at a require, and loaded before
}

let installed = false;

// Below a process that has the role most are helpers: they never claim, nothing is started, and what their own
// SDK makes is dropped.
function install(env = process.env) {
  if (installed) return;
  installed = true;
  const { wiped } = ownToken(env) || {};
  if (process.channel) hookHanded(env);
  waitsForChildren = !wiped;
  if (!wiped) hookListen();
  if (env.RUNMAIN_AUTO === undefined) return;
  hookLoad();
  const isLoaded = globalThis[kApi] !== undefined || Object.keys(require.cache).some((file) => file.includes(kSdk));
  if (isLoaded) require('./sdk_hooks').install();
  if (env.RUNMAIN_AUTO === '1' && !wiped) installAuto();
}

module.exports = { install, unwrapped };
