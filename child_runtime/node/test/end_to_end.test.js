// Unmodified programs under runmain: one server span a request, whoever starts OpenTelemetry, and whoever
// starts Node.
'use strict';

const test = require('node:test');
const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { packages } = require('./packages');
const { World, until, freePort, get } = require('./runmain');

const kRequests = 20;

const kServer = `
const app = require('express')();
app.get('/{*path}', (request, response) => response.send(String(process.pid)));
app.listen(process.env.LISTEN_FDS ? { fd: 3 } : { port: Number(process.env.PORT), host: '127.0.0.1' });
`;
const kOwnSdk = `
const { NodeSDK } = require('@opentelemetry/sdk-node');
const { getNodeAutoInstrumentations } = require('@opentelemetry/auto-instrumentations-node');
const { OTLPTraceExporter } = require('@opentelemetry/exporter-trace-otlp-http');
new NodeSDK({
  traceExporter: new OTLPTraceExporter({ url: 'http://127.0.0.1:9/v1/traces' }),
  instrumentations: [getNodeAutoInstrumentations()],
}).start();
`;

async function makeWorld(t, { files, command, kind = 'listen', options = '', auto = 1, workers = '' }) {
  const world = new World();
  t.after(() => world.stop());
  fs.symlinkSync(path.join(packages('current'), 'node_modules'), path.join(world.folder, 'node_modules'));
  for (const [name, text] of Object.entries(files)) fs.writeFileSync(path.join(world.folder, name), text);
  const port = await freePort();
  const place = kind === 'listen' ? `listen = "127.0.0.1:${port}"` : `port = ${port}`;
  await world.start(`auto = ${auto === 1}\n[service.web]\ncommand = "${command}"\n${place}\n${workers}
watch = false
env = { NODE_OPTIONS = "${options}" }\n`);
  await until('it answers', () => world.failIfEnded() || get(port, '/up')).catch((error) => {
    throw new Error(`${error.message}: ${world.output}`);
  });
  return { world, port };
}

// Each request is one server span with its path.
async function oneSpanEach(world, port) {
  for (let i = 0; i < kRequests; ++i) assert.ok(await get(port, `/r${i}`));
  const pathOf = (span) => span.attributes['url.path'] || span.attributes['http.target'];
  const of = (i) => world.serverSpans().filter((span) => pathOf(span) === `/r${i}`);
  await until('all spans are there', () => of(kRequests - 1).length > 0);
  await until('each', () => Array.from({ length: kRequests }, (_, i) => of(i).length).every((n) => n > 0), 10000);
  await new Promise((resolve) => setTimeout(resolve, 300)); // one that comes twice would come now
  for (let i = 0; i < kRequests; ++i) assert.strictEqual(of(i).length, 1, `/r${i}`);
}

function hasMailbox(pid) {
  return fs.readdirSync(`/proc/${pid}/fd`).some((fd) => {
    try {
      return fs.readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith('/memfd:runmain-mailbox');
    } catch {
      return false;
    }
  });
}

const kPrograms = {
  'zero-code instrumentation': { files: { 'server.js': kServer }, command: 'node server.js' },
  'its own SDK with a fixed endpoint': { files: { 'server.js': kOwnSdk + kServer }, command: 'node server.js', auto: 0 },
  'its own SDK beside zero-code instrumentation': { files: { 'server.js': kOwnSdk + kServer }, command: 'node server.js' },
  'its own SDK after its framework': {
    files: { 'server.js': `const http = require('http');\n${kOwnSdk + kServer}` },
    command: 'node server.js',
  },
  'the SDK preloaded before us': {
    files: { 'server.js': kServer },
    command: 'node server.js',
    options: '--require @opentelemetry/auto-instrumentations-node/register',
  },
  'the SDK preloaded behind us': {
    files: { 'server.js': kServer },
    command: 'node --require @opentelemetry/auto-instrumentations-node/register server.js',
    auto: 0,
  },
  'an ES module': {
    files: {
      'server.mjs': `import express from 'express';\nconst app = express();\napp.get('/{*path}', (q, s) => s.send(String(process.pid)));\napp.listen({ fd: 3 });\n`,
    },
    command: 'node server.mjs',
  },
  'npm start': {
    kind: 'port',
    files: { 'server.js': kServer, 'package.json': '{"scripts":{"start":"node server.js"}}' },
    command: 'npm start',
  },
  'node --watch': { kind: 'port', files: { 'server.js': kServer }, command: 'node --watch server.js' },
};

for (const [name, program] of Object.entries(kPrograms)) {
  test(`${name}: one server span a request, by the mailbox, from one process`, async (t) => {
    const { world, port } = await makeWorld(t, program);
    const pid = Number(await get(port, '/pid'));
    await oneSpanEach(world, port);
    assert.ok(hasMailbox(pid), 'the process has a mailbox');
    const pids = new Set(world.spans.filter((s) => s.resource['service.name'] !== 'runmain').map((s) => s.resource['process.pid']));
    assert.deepStrictEqual([...pids], [String(pid)], 'spans come from the process that serves');
    const begun = Date.now();
    await world.stop();
    t.diagnostic(`stopped in ${Date.now() - begun} ms`);
    assert.ok(Date.now() - begun < 8000, 'SIGTERM ends it before the budget');
  });
}

test('workers of a cluster have instance ids of their own, and its primary has none', async (t) => {
  const program = `
const cluster = require('node:cluster');
if (cluster.isPrimary) { cluster.fork(); cluster.fork(); } else { ${kServer.replace('{ fd: 3 }', '{ port: 0 }')} }
`;
  const { world, port } = await makeWorld(t, { files: { 'server.js': program }, command: 'node server.js', kind: 'port' });
  const pids = new Set();
  await until('both have answered', async () => pids.add(await get(port, '/who')).size >= 2);
  await oneSpanEach(world, port);
  const ids = new Map(world.serverSpans().map((s) => [s.resource['service.instance.id'], s.resource['process.pid']]));
  assert.strictEqual(ids.size, 2);
  assert.strictEqual(new Set(ids.values()).size, 2);
  for (const pid of pids) assert.ok(hasMailbox(Number(pid)));
});

test('metrics and logs of exporters with a fixed endpoint arrive, and onDrain ends the process', async (t) => {
  const program = `
const { metrics, logs } = require('@opentelemetry/sdk-node');
const { OTLPMetricExporter } = require('@opentelemetry/exporter-metrics-otlp-http');
const { OTLPLogExporter } = require('@opentelemetry/exporter-logs-otlp-proto');
const url = 'http://127.0.0.1:9/none';
const reader = new metrics.PeriodicExportingMetricReader({ exporter: new OTLPMetricExporter({ url }), exportIntervalMillis: 200, exportTimeoutMillis: 100 });
new metrics.MeterProvider({ readers: [reader] }).getMeter('m').createCounter('a.counter.of.ours').add(1);
const processor = new logs.SimpleLogRecordProcessor({ exporter: new OTLPLogExporter({ url }) });
const logger = new logs.LoggerProvider({ processors: [processor] }).getLogger('l');
const runmain = require(${JSON.stringify(path.resolve(__dirname, '..'))});
const server = require('node:http').createServer((request, response) => {
  logger.emit({ body: 'a line of ours' });
  response.end(String(runmain.serving()));
}).listen({ fd: 3 }, () => runmain.ready());
runmain.onDrain(async ({ budgetMs }) => {
  require('node:fs').writeFileSync('drained', String(budgetMs > 0));
  await new Promise((resolve) => server.close(resolve));
});
`;
  const { world, port } = await makeWorld(t, { files: { 'server.js': program }, command: 'node server.js', auto: 0 });
  await until('it serves', async () => (await get(port, '/')) === 'true');
  await until('the metric is there', () => world.others.includes('a.counter.of.ours'));
  await until('the log is there', () => world.others.includes('a line of ours'));
  world.runmain.kill('SIGTERM');
  await world.ended;
  assert.strictEqual(fs.readFileSync(path.join(world.folder, 'drained'), 'utf8'), 'true');
});

// Masks by a processor of its own in front of an OTLP exporter, as programs do.
const kMasking = `
const { NodeSDK, tracing } = require('@opentelemetry/sdk-node');
const { getNodeAutoInstrumentations } = require('@opentelemetry/auto-instrumentations-node');
const { OTLPTraceExporter } = require('@opentelemetry/exporter-trace-otlp-http');
class Masking {
  constructor(inner) { this.inner = inner; }
  export(spans, done) {
    const kept = spans.filter((span) => span.attributes['url.path'] !== '/up' && span.attributes['http.target'] !== '/up');
    for (const span of kept) {
      for (const key of Object.keys(span.attributes)) {
        if (String(span.attributes[key]).includes('token')) span.attributes[key] = '***';
      }
    }
    this.inner.export(kept, done);
  }
  shutdown() { return this.inner.shutdown(); }
}
const exporter = new Masking(new OTLPTraceExporter({ url: 'http://127.0.0.1:9/v1/traces' }));
new NodeSDK({
  spanProcessors: [new tracing.BatchSpanProcessor(exporter, { scheduledDelayMillis: 100 })],
  instrumentations: [getNodeAutoInstrumentations()],
}).start();
`;

test('what a program masks and drops in front of its exporter arrives masked, once, and nothing else', async (t) => {
  const { world, port } = await makeWorld(t, { files: { 'server.js': kMasking + kServer }, command: 'node server.js', auto: 0 });
  for (let i = 0; i < 5; ++i) await get(port, `/r${i}?token=1`);
  await until('all are there', () => world.serverSpans().length >= 5, 10000);
  await new Promise((resolve) => setTimeout(resolve, 300)); // one that comes twice would come now
  assert.strictEqual(world.serverSpans().length, 5, JSON.stringify(world.serverSpans()));
  const ofProgram = world.spans.filter((span) => span.resource['service.name'] !== 'runmain');
  assert.strictEqual(new Set(ofProgram.map((span) => span.id)).size, ofProgram.length);
  const text = JSON.stringify(ofProgram.map((span) => span.attributes));
  assert.ok(text.includes('***') && !text.includes('token') && !text.includes('/up'), text);
});

// In a thread, with the SDK that it has by itself.
const kThread = `
const { BasicTracerProvider } = require('@opentelemetry/sdk-trace-base');
const tracer = new BasicTracerProvider().getTracer('thread');
require('node:worker_threads').parentPort.on('message', (name) => tracer.startSpan(name).end());
`;

test('a worker thread does not claim, and its spans are in the mailbox', async (t) => {
  const program = `
const { Worker } = require('node:worker_threads');
let worker;
require('node:http').createServer((request, response) => {
  worker = worker || new Worker('./thread.js');
  worker.postMessage('in a thread ' + request.url);
  response.end(String(process.pid));
}).listen({ fd: 3 });
`;
  const files = { 'server.js': program, 'thread.js': kThread };
  const { world, port } = await makeWorld(t, { files, command: 'node server.js', auto: 0 });
  const pid = await get(port, '/1');
  const named = (name) => world.spans.filter((span) => span.name === name);
  await until('its span is there', () => named('in a thread /1').length > 0);
  assert.strictEqual(named('in a thread /1').length, 1);
  assert.ok(hasMailbox(Number(pid)));
});

// What had ended is told by the program itself, behind the mailbox's onEnd.
const kTelling = `
const { MailboxSpanProcessor } = require(${JSON.stringify(path.resolve(__dirname, '..'))});
const { onEnd } = MailboxSpanProcessor.prototype;
const fd = require('node:fs').openSync('ended', 'a');
MailboxSpanProcessor.prototype.onEnd = function (span) {
  onEnd.call(this, span);
  require('node:fs').writeSync(fd, span.spanContext().spanId + '\\n');
};
`;

// Starts quickly: what is measured is what a kill loses, not how long the SDK takes to load.
const kLight = `
const { BasicTracerProvider } = require('@opentelemetry/sdk-trace-base');
const { registerInstrumentations } = require('@opentelemetry/instrumentation');
const { HttpInstrumentation } = require('@opentelemetry/instrumentation-http');
require('@opentelemetry/api').trace.setGlobalTracerProvider(new BasicTracerProvider());
registerInstrumentations({ instrumentations: [new HttpInstrumentation()] });
require('node:http').createServer((request, response) => response.end(String(process.pid))).listen({ fd: 3 });
`;

test('20 SIGKILLs at 200 requests a second lose no span that had ended, and none comes twice', { timeout: 300000 }, async (t) => {
  const { world, port } = await makeWorld(t, {
    files: { 'server.js': kTelling + kLight },
    command: 'node server.js',
    auto: 0,
    workers: 'restart = { policy = "always", initial = "1ms", factor = 1.0 }',
  });
  let running = true;
  let inFlight = 0;
  const load = (async () => {
    for (let due = Date.now(); running; due += 5) {
      // A machine that is too busy for the rate gets less, and not a queue in front of the next kill.
      if (inFlight < 50) {
        ++inFlight;
        get(port, '/load').then(() => --inFlight);
      }
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - Date.now())));
    }
  })();
  let last;
  for (let kill = 0; kill < 20; ++kill) {
    const pid = await until('a process answers', async () => {
      const text = await get(port, '/pid');
      return text && text !== last ? text : undefined;
    });
    await new Promise((resolve) => setTimeout(resolve, 100 + Math.random() * 400));
    process.kill(Number(pid), 'SIGKILL');
    last = pid;
  }
  running = false;
  await load;
  await until('it answers again', () => get(port, '/last'));
  const ended = fs.readFileSync(path.join(world.folder, 'ended'), 'utf8').trim().split('\n');
  const seen = new Map();
  const count = () => {
    seen.clear();
    for (const span of world.spans) seen.set(span.id, (seen.get(span.id) || 0) + 1);
    return ended.filter((id) => !seen.has(id)).length;
  };
  await until('all is exported', () => count() === 0, 15000).catch(() => {});
  t.diagnostic(`${ended.length} spans had ended, ${count()} lost, ${[...seen.values()].filter((n) => n > 1).length} twice`);
  assert.strictEqual(count(), 0);
  assert.ok(ended.length > 1000);
  assert.deepStrictEqual([...seen].filter(([, n]) => n > 1), []);
});
