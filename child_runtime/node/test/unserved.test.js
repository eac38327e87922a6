// Who opens no listener of the service: a job, a consumer, a server that runmain does not know, a child that is
// handed a socket. What they have made claims, and none of it is lost.
'use strict';

const test = require('node:test');
const assert = require('node:assert');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { packages } = require('./packages');
const { Channel } = require('./channel');
const { readLane } = require('./mailbox_file');
const { World, spansOf, until, get } = require('./runmain');

const kAfterMs = 1000;
const kSockets = { LISTEN_FDS: '1', SERVER_STARTER_PORT: '127.0.0.1:8000=3' };
const kFrom = path.join(packages('current'), 'x.js');

// `span(name, kind)` makes one of the current SDK.
const kTraced = `
const load = require('node:module').createRequire(${JSON.stringify(kFrom)});
const { BasicTracerProvider } = load('@opentelemetry/sdk-trace-base');
const tracer = new BasicTracerProvider().getTracer('a');
const span = (name, kind = 0) => tracer.startSpan(name, { kind }).end();
`;

function namesIn(channel) {
  const found = [];
  for (let lane = 15; lane >= 0; --lane) {
    for (const { payload } of readLane(channel.mailbox, lane).records) found.push(...(payload.toString('latin1').match(/span-[a-z]+/g) || []));
  }
  return found;
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

test('a job claims when its spans have waited for a second, and then a SIGKILL loses none', async (t) => {
  const channel = new Channel(t);
  const child = await channel.start(`${kTraced} span('span-job'); console.log(Date.now()); setInterval(() => {}, 1000);`);
  const from = Number(await child.firstLine);
  await until('it has claimed', () => channel.claims.length > 0, 5000);
  const waited = channel.claims[0].at - from;
  assert.ok(waited > kAfterMs - 200 && waited < kAfterMs + 2000, `${waited} ms`);
  assert.strictEqual(channel.claims[0].explicit, false);
  await until('it is there', () => namesIn(channel).length > 0, 5000);
  child.kill('SIGKILL');
  await child.ended;
  assert.deepStrictEqual(namesIn(channel), ['span-job']);
});

const kEnds = {
  'at its end': ['', 0],
  'with process.exit': ['process.exit(3);', 3],
  'with an exception': ['process.on("uncaughtException", () => process.exit(4)); throw new Error("x");', 4],
  'with a rejection': ['process.on("exit", () => span("span-last")); Promise.reject(new Error("expected"));', 1],
  'by SIGTERM': ['setInterval(() => {}, 1000); process.kill(process.pid, "SIGTERM");', 'SIGTERM'],
  'by SIGINT': ['setInterval(() => {}, 1000); process.kill(process.pid, "SIGINT");', 'SIGINT'],
  'by its own listener': ['process.once("SIGTERM", () => process.exit(5)); setInterval(() => {}, 1000); process.kill(process.pid, "SIGTERM");', 5],
};
for (const [name, [end, result]] of Object.entries(kEnds)) {
  test(`a short job that ends ${name} claims then`, async (t) => {
    const channel = new Channel(t);
    const child = await channel.start(`${kTraced} span('span-first'); span('span-job');\n${end}`);
    assert.strictEqual(await child.ended, result);
    assert.deepStrictEqual(namesIn(channel).slice(0, 2), ['span-first', 'span-job']);
    assert.strictEqual(channel.claims.length, 1);
  });
}

test('nobody answers: a job ends all the same, and soon', async (t) => {
  for (const [end, result] of [['', 0], ['process.exit(3)', 3], ['setInterval(() => {}, 1000); process.kill(process.pid, "SIGTERM")', 'SIGTERM']]) {
    const channel = new Channel(t, { answer: 'none' });
    const child = await channel.start(`${kTraced} span('span-job'); console.log('here'); ${end}`);
    await child.firstLine;
    const from = Date.now();
    assert.strictEqual(await child.ended, result);
    assert.ok(Date.now() - from < 1500, `${Date.now() - from} ms`);
  }
});

test('a job that may not connect sends its spans by HTTP at its end', async (t) => {
  const names = [];
  const server = http.createServer((request, response) => {
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => {
      names.push(...spansOf(Buffer.concat(parts)).map((span) => span.name));
      response.end();
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const channel = new Channel(t);
  for (const name of ['/nowhere', path.join(channel.folder, 'gone')]) {
    const env = { RUNMAIN_CHANNEL: name, OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${server.address().port}` };
    const child = await channel.start(`${kTraced} span('span-job');`, env);
    assert.strictEqual(await child.ended, 0);
    await until('it is there', () => names.length > 0, 3000);
    assert.deepStrictEqual(names.splice(0), ['span-job']);
  }
});

test('metrics of a job are there, too, and a short one has them at its end', async (t) => {
  const channel = new Channel(t);
  const child = await channel.start(`
const load = require('node:module').createRequire(${JSON.stringify(kFrom)});
const { metrics } = load('@opentelemetry/sdk-node');
const { OTLPMetricExporter } = load('@opentelemetry/exporter-metrics-otlp-http');
const reader = new metrics.PeriodicExportingMetricReader({ exporter: new OTLPMetricExporter({ url: 'http://127.0.0.1:9/none' }) });
const provider = new metrics.MeterProvider({ readers: [reader] });
provider.getMeter('m').createCounter('a.counter.of.ours').add(1);
process.once('beforeExit', () => provider.shutdown());`);
  assert.strictEqual(await child.ended, 0);
  assert.ok(fs.readFileSync(channel.mailbox, 'latin1').includes('a.counter.of.ours'));
});

test('a server on a unix socket that runmain does not have', async (t) => {
  const channel = new Channel(t);
  const name = path.join(channel.folder, 'own.sock');
  const child = await channel.start(`${kTraced}
require('node:http').createServer((request, response) => (span('span-request', 1), response.end())).listen(${JSON.stringify(name)}, () => console.log('up'));`);
  await child.firstLine;
  await new Promise((resolve) => http.get({ socketPath: name }, (response) => response.resume().on('end', resolve)));
  await until('it is there', () => namesIn(channel).length > 0, 5000);
  assert.deepStrictEqual(namesIn(channel), ['span-request']);
});

test('a service with sockets of runmain that listens elsewhere claims with a span of its server, and with no other', async (t) => {
  const channel = new Channel(t);
  const program = `${kTraced} span('span-start');
require('node:http').createServer((request, response) => (span('span-request', 1), response.end('x'))).listen(0, '127.0.0.1', function () { console.log(this.address().port); });`;
  const child = await channel.start(program, kSockets);
  const port = Number(await child.firstLine);
  await sleep(kAfterMs + 500);
  assert.strictEqual(channel.claims.length, 0);
  await get(port, '/');
  await until('it is there', () => namesIn(channel).length > 1, 5000);
  assert.deepStrictEqual(namesIn(channel), ['span-start', 'span-request']);
});

test('a claim of spans that is refused is no listener\'s', async (t) => {
  const channel = new Channel(t, { answer: 'refuse' });
  const child = await channel.start(`${kTraced} span('span-early');
setTimeout(() => require('node:http').createServer((request, response) => (span('span-request', 1), response.end('x'))).listen(0, '127.0.0.1', function () { console.log(this.address().port); }), 1500);`);
  await until('it has claimed', () => channel.claims.length > 0, 5000);
  channel.answer = 'grant';
  await get(Number(await child.firstLine), '/');
  assert.deepStrictEqual(namesIn(channel), ['span-request']);
  assert.strictEqual(channel.claims.length, 2);
});

test('a cluster\'s primary never claims, its workers do, also where the primary does', async (t) => {
  const channel = new Channel(t, { answer: 'first' });
  const child = await channel.start(`${kTraced}
const cluster = require('node:cluster');
if (cluster.isPrimary) {
  span('span-primary');
  cluster.fork();
  cluster.fork().on('exit', () => setTimeout(() => console.log('over'), 1500));
} else { span('span-worker'); setTimeout(() => process.exit(0), 100); }`);
  await child.firstLine;
  assert.strictEqual(await child.ended, 0);
  assert.deepStrictEqual(namesIn(channel), ['span-worker', 'span-worker']);
  assert.ok(channel.claims.every((claim) => claim.pid !== child.pid && claim.explicit));

  const other = new Channel(t, { answer: 'first' });
  const late = await other.start(`${kTraced}
const cluster = require('node:cluster');
if (cluster.isPrimary) {
  span('span-primary');
  setTimeout(() => cluster.fork(), 1500);
} else { span('span-worker'); process.exit(0); }`);
  assert.strictEqual(await late.ended, 0);
  assert.deepStrictEqual(namesIn(other), ['span-primary', 'span-worker']);
});

// The child serves with what the parent hands it, in `type`: 'server' or 'socket'.
function handing(type, forks) {
  return `${kTraced}
const { fork } = require('node:child_process');
if (process.argv[2] === 'child') {
  const server = require('node:http').createServer((request, response) => (span('span-child', 1), response.end(String(process.pid))));
  process.on('message', (message, handle) => {
    if (message !== 'take') throw new Error('unknown: ' + JSON.stringify(message));
    if ('${type}' === 'server') server.listen(handle, () => process.send('has'));
    else server.emit('connection', handle);
  });
} else {
  let child;
  const start = () => (child = fork(__filename, ['child']));
  if ('${forks}' === 'before') start();
  const server = require('node:net').createServer({ pauseOnConnect: true });
  server.on('connection', (socket) => child.send('take', socket));
  server.listen(0, '127.0.0.1', () => setTimeout(() => {
    const { port } = server.address();
    if ('${forks}' === 'after') start();
    if ('${type}' === 'socket') return setTimeout(() => console.log(port), 500);
    child.send('take', server);
    child.once('message', () => server.close(() => console.log(port)));
  }, 300));
}`;
}

for (const type of ['server', 'socket']) {
  for (const forks of ['before', 'after']) {
    test(`a child that was forked ${forks} its parent had the role, and is handed a ${type}, claims as well`, async (t) => {
      const channel = new Channel(t, { answer: 'first' });
      const child = await channel.start(handing(type, forks));
      const pid = Number(await get(Number(await child.firstLine), '/'));
      t.after(() => process.kill(pid, 'SIGKILL'));
      await until('it is there', () => namesIn(channel).length > 0, 5000);
      assert.deepStrictEqual(namesIn(channel), ['span-child']);
      assert.deepStrictEqual(channel.claims.map((c) => [c.pid, c.isGranted]), [[child.pid, true], [pid, true]]);
    });
  }
}

test('connections that a primary hands to a worker, after it has claimed; a message that fails is told once', async (t) => {
  const channel = new Channel(t, { answer: 'first' });
  const child = await channel.start(`${kTraced}
const cluster = require('node:cluster');
if (cluster.isPrimary) {
  const server = require('node:net').createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1', () => setTimeout(() => {
    const worker = cluster.fork();
    server.on('connection', (socket) => worker.send('take', socket));
    const gone = require('node:child_process').fork('-e', ['0']);
    gone.disconnect();
    let errors = 0;
    gone.on('error', () => ++errors).on('exit', () => setTimeout(() => console.log(server.address().port + ' ' + errors), 500));
    gone.send('too late', server);
  }, 300));
} else {
  const server = require('node:http').createServer((request, response) => (span('span-child', 1), response.end(process.env.RUNMAIN_TOKEN)));
  process.on('message', (message, socket) => server.emit('connection', socket));
}`);
  const [port, errors] = (await child.firstLine).split(' ');
  assert.strictEqual(errors, '1');
  await get(Number(port), '/');
  await until('it is there', () => namesIn(channel).length > 0, 5000);
  await until('the role is its own', async () => (await get(Number(port), '/')) === '1:web:0:1:-:1', 5000);
  assert.ok(channel.claims.every((claim) => claim.isGranted));
});

test('under runmain a job that ends by itself is claimed, and its span is exported', async (t) => {
  const world = new World();
  t.after(() => world.stop());
  fs.symlinkSync(path.join(packages('current'), 'node_modules'), path.join(world.folder, 'node_modules'));
  fs.writeFileSync(path.join(world.folder, 'job.js'), `${kTraced} span('span-job'); setTimeout(() => {}, 300);`);
  fs.writeFileSync(path.join(world.folder, 'consumer.js'), `${kTraced} setInterval(() => span('span-consumer'), 200);`);
  await world.start(`auto = false
[service.job]
command = "node job.js"
restart = { policy = "never" }
watch = false
[service.consumer]
command = "node consumer.js"
watch = false
`);
  const named = (name) => world.spans.filter((span) => span.name === name);
  await until('they are there', () => named('span-job').length > 0 && named('span-consumer').length > 5).catch((error) => {
    throw new Error(`${error.message}: ${world.output}`);
  });
  assert.strictEqual(named('span-job').length, 1);
});
