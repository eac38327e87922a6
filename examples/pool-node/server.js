// An HTTP server for a socket that it is given, which loses no request when it is replaced. Nothing but node itself.
//
//     node server.js [--fd N]
//
// The drain: it accepts no more; requests in flight are answered; a connection that was accepted and has not spoken
// has FRESH_MS for its first request; idle ones are looked at for IDLE_MS more and once again before they are closed;
// every answer says "Connection: close". server.close() would close the idle ones at once, and with them a request
// that is on its way.
'use strict';
const http = require('http');
const net = require('net');
const {Channel} = require('./runmain.js');

const FRESH_MS = 1000;
const IDLE_MS = 500;
const REPORT_MS = 1000;

const connections = new Map();  // socket → {fresh, requests}
let done = 0;
let inFlight = 0;
let draining = false;

const server = http.createServer((request, response) => {
  const known = request.url === '/' || request.url === '/health';
  response.statusCode = known ? 200 : 404;
  response.setHeader('Content-Type', 'text/plain');
  response.end(known ? `${process.pid} is worker ${process.env.RUNMAIN_WORKER ?? '-'}\n` : '');
});
server.keepAliveTimeout = 60000;

server.prependListener('connection', (socket) => {
  connections.set(socket, {fresh: true, requests: 0});
  socket.on('close', () => { connections.delete(socket); look(); });
});

server.prependListener('request', (request, response) => {
  const c = connections.get(request.socket);
  if (!c) return;
  c.fresh = false;
  c.requests += 1;
  inFlight += 1;
  if (draining) response.setHeader('Connection', 'close');
  response.on('close', () => {
    c.requests -= 1;
    inFlight -= 1;
    done += 1;
    // Its head may have gone before the drain began.
    if (draining && c.requests === 0) closeLater(request.socket, IDLE_MS);
  });
});

// The turn of the loop between timer and immediate reads what has come meanwhile: the last look. destroy() closes at
// once, end() would a turn later.
function closeLater(socket, ms) {
  setTimeout(() => setImmediate(() => {
    const c = connections.get(socket);
    if (c && c.requests === 0) socket.destroy();
  }), ms);
}

function drain() {
  if (draining) return;
  draining = true;
  channel.say({stopping: true});
  net.Server.prototype.close.call(server);  // accepts no more, and closes nothing else
  for (const [socket, c] of connections) if (c.requests === 0) closeLater(socket, c.fresh ? FRESH_MS : IDLE_MS);
  look();
}

function look() {
  if (!draining || connections.size > 0) return;
  channel.say({requests: {done, in_flight: 0}});
  channel.say({drained: true});
  setImmediate(() => process.exit(0));
}

const channel = new Channel(drain);
process.on('SIGTERM', drain);
process.on('SIGINT', drain);

async function main() {
  if (!await channel.claim()) process.exit(1);
  const at = process.argv.indexOf('--fd');
  // listen(2) is called again on the shared socket; with a large backlog nobody gets a shorter one by it.
  server.listen({fd: at > 0 ? Number(process.argv[at + 1]) : 3, backlog: 65535}, () => {
    channel.say({ready: true});
    setInterval(() => channel.say({requests: {done, in_flight: inFlight}}), REPORT_MS).unref();
  });
}

main();
