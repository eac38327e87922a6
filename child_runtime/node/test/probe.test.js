// What the probe of `runmain doctor` says of OpenTelemetry in a Node program (docs/doctor-records.md), with real packages.
'use strict';

const test = require('node:test');
const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { packages } = require('./packages');
const { spansOf, until } = require('./runmain');
const { Probed, prelude, kProvider } = require('./probed');

const kRegister = path.join(packages('current'), 'node_modules/@opentelemetry/auto-instrumentations-node/build/src/register.js');

const without = (record) => {
  const { t, pid, stack, ...rest } = record;
  return rest;
};

// Frames that are not of packages.
const outside = (stack) => stack.filter((frame) => !frame.includes('/node_modules/'));

for (const set of ['current', 'old']) {
  test(`${set}: a program's provider, its processor, exporter, spans and end are told, and its spans come here`, async (t) => {
    const probed = new Probed(t, set);
    const { how, pid } = await probed.run(
      `${prelude(set)}${kProvider}
const { OTLPTraceExporter } = load('@opentelemetry/exporter-trace-otlp-proto');
const { trace, context, SpanKind } = load('@opentelemetry/api');
const { AsyncLocalStorageContextManager } = load('@opentelemetry/context-async-hooks');
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
const provider = providerOf(new BatchSpanProcessor(new OTLPTraceExporter({ url: 'https://collector.example/v1/traces' })));
trace.setGlobalTracerProvider(provider);
const tracer = trace.getTracer('shop');
tracer.startActiveSpan('outer', { kind: SpanKind.SERVER }, (outer) => {
  tracer.startSpan('inner').end();
  outer.end();
  outer.end();
});
provider.shutdown();
`,
    );
    assert.strictEqual(how, 0);
    const records = probed.of(pid);
    assert.deepStrictEqual(without(records[0]), {
      k: 'process', runtime: `node ${process.versions.node}`, ppid: process.pid, argv: records[0].argv, forked: false,
    });
    assert.ok(records[0].argv[1].endsWith('program.js'));
    assert.ok(records.every((one) => one.pid === pid && one.t > 0));
    const versions = Object.fromEntries(probed.of(pid, 'package').map((one) => [one.name, one.version]));
    assert.deepStrictEqual(
      [versions['@opentelemetry/api'], versions['@opentelemetry/sdk-trace-base'].split('.')[0]],
      ['1.9.0', set === 'old' ? '1' : '2'],
    );

    const [provider] = probed.of(pid, 'provider');
    assert.strictEqual(provider.class, 'BasicTracerProvider');
    assert.strictEqual(provider.resource['telemetry.sdk.language'], 'nodejs');
    assert.match(outside(provider.stack)[0], /program\.js:\d+ providerOf$/);
    const [processor] = probed.of(pid, 'processor');
    assert.deepStrictEqual(without(processor), {
      k: 'processor', provider: provider.id, id: processor.id, class: 'BatchSpanProcessor', exporter: processor.exporter,
      exporter_class: 'OTLPTraceExporter', endpoint: 'https://collector.example/v1/traces', protocol: 'http/protobuf', batch: true,
    });
    const [global] = probed.of(pid, 'set');
    assert.deepStrictEqual(without(global), { k: 'set', provider: provider.id, class: 'BasicTracerProvider', accepted: true });

    const [outer, inner] = probed.of(pid, 'start');
    assert.deepStrictEqual(
      [outer.name, outer.kind, outer.scope, outer.provider, outer.by, 'parent' in outer, inner.parent, inner.trace],
      ['outer', 2, 'shop', provider.id, 'program', false, outer.span, outer.trace],
    );
    assert.match(outer.at, /program\.js:\d+ /);
    assert.deepStrictEqual(probed.of(pid, 'activate').map((one) => one.span), [outer.span]);
    assert.deepStrictEqual(probed.of(pid, 'end').map((one) => one.span), [inner.span, outer.span]);
    const [exported] = probed.of(pid, 'export');
    assert.deepStrictEqual([exported.exporter, exported.spans, exported.ok], [processor.exporter, 2, true]);
    const [shutdown] = probed.of(pid, 'shutdown');
    assert.ok(shutdown.provider === provider.id && shutdown.ms > 0 && shutdown.stack.length > 0);
    assert.deepStrictEqual(without(records.at(-1)), { k: 'exit', how: 'end', code: 0 });

    assert.strictEqual(probed.requests.length, 1);
    const [{ path: where, headers, body }] = probed.requests;
    assert.deepStrictEqual(
      [where, headers['runmain-doctor'], headers.more, headers['content-type']],
      ['/v1/traces', 'a%20b', 'c=d', 'application/x-protobuf'],
    );
    assert.deepStrictEqual(spansOf(body).map((span) => span.name).sort(), ['inner', 'outer']);
  });

  test(`${set}: spans of gRPC exporters come as OTLP/HTTP, of both kinds of HTTP as they are`, async (t) => {
    const probed = new Probed(t, set);
    const { how, pid } = await probed.run(
      `${prelude(set)}${kProvider}
(async () => {
  for (const kind of ['grpc', 'proto', 'http']) {
    const { OTLPTraceExporter } = load('@opentelemetry/exporter-trace-otlp-' + kind);
    const provider = providerOf(new BatchSpanProcessor(new OTLPTraceExporter({ url: 'http://collector.example:4317' })));
    provider.getTracer('a').startSpan(kind).end();
    await provider.shutdown();
  }
})();`,
    );
    assert.strictEqual(how, 0);
    const of = probed.of(pid, 'processor').map((one) => [one.protocol, one.endpoint]);
    const [grpc, proto, json] = of;
    assert.deepStrictEqual(grpc, ['grpc', 'collector.example:4317']);
    assert.deepStrictEqual([proto[0], json[0]], ['http/protobuf', 'http/json']);
    assert.match(proto[1], /^http:\/\/collector\.example:4317/);
    const types = probed.requests.map((one) => one.headers['content-type']);
    assert.deepStrictEqual(types, ['application/x-protobuf', 'application/x-protobuf', 'application/json']);
    assert.strictEqual(spansOf(probed.requests[0].body)[0].name, 'grpc');
    assert.strictEqual(JSON.parse(probed.requests[2].body).resourceSpans[0].scopeSpans[0].spans[0].name, 'http');
    assert.ok(probed.of(pid, 'export').every((one) => one.ok));
  });

  test(`${set}: one exporter in two processors has one id`, async (t) => {
    const probed = new Probed(t, set);
    const { pid } = await probed.run(
      `${prelude(set)}${kProvider}
const { OTLPTraceExporter } = load('@opentelemetry/exporter-trace-otlp-http');
const exporter = new OTLPTraceExporter();
const provider = providerOf(new BatchSpanProcessor(exporter), new SimpleSpanProcessor(exporter));
provider.getTracer('a').startSpan('one').end();
provider.forceFlush();`,
    );
    const [first, second] = probed.of(pid, 'processor');
    assert.deepStrictEqual([first.batch, second.batch], [true, false]);
    assert.strictEqual(first.exporter, second.exporter);
    assert.notStrictEqual(first.id, second.id);
    assert.strictEqual(first.endpoint, 'http://localhost:4318/v1/traces');
    const bodies = probed.requests.map((one) => JSON.parse(one.body).resourceSpans[0].scopeSpans[0].spans[0].spanId);
    assert.deepStrictEqual([bodies.length, new Set(bodies).size], [2, 1]);
    assert.deepStrictEqual(probed.of(pid, 'export').map((one) => one.exporter), [first.exporter, first.exporter]);
  });

  test(`${set}: an exporter that points here already is left as it is`, async (t) => {
    const probed = new Probed(t, set);
    await new Promise((resolve) => probed.server.listen(0, '127.0.0.1', resolve));
    const { pid } = await probed.run(
      `${prelude(set)}${kProvider}
const { OTLPTraceExporter } = load('@opentelemetry/exporter-trace-otlp-http');
const provider = providerOf(new SimpleSpanProcessor(new OTLPTraceExporter()));
provider.getTracer('a').startSpan('one').end();`,
      { env: { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${probed.server.address().port}`, OTEL_EXPORTER_OTLP_HEADERS: 'own=1' } },
    );
    assert.strictEqual(probed.of(pid, 'export')[0].ok, true);
    const [{ headers }] = probed.requests;
    assert.deepStrictEqual([headers.own, headers['runmain-doctor']], ['1', undefined]);
  });

  test(`${set}: an exporter behind the program's own is found`, async (t) => {
    const probed = new Probed(t, set);
    const { pid } = await probed.run(
      `${prelude(set)}${kProvider}
const { OTLPTraceExporter } = load('@opentelemetry/exporter-trace-otlp-http');
class Masking {
  constructor(inner) { this.inner = inner; }
  export(spans, done) { this.inner.export(spans, done); }
  shutdown() { return this.inner.shutdown(); }
}
providerOf(new SimpleSpanProcessor(new Masking(new OTLPTraceExporter()))).getTracer('a').startSpan('one').end();`,
    );
    const [processor] = probed.of(pid, 'processor');
    assert.deepStrictEqual([processor.exporter_class, processor.protocol], ['OTLPTraceExporter', 'http/json']);
    assert.strictEqual(probed.of(pid, 'export')[0].exporter, processor.exporter);
  });
}

test('metrics and logs come here, too, and nothing is told of them', async (t) => {
  const probed = new Probed(t);
  const { how, pid } = await probed.run(
    `${prelude('current')}
const { OTLPMetricExporter } = load('@opentelemetry/exporter-metrics-otlp-http');
const { MeterProvider, PeriodicExportingMetricReader } = load('@opentelemetry/sdk-metrics');
const { OTLPLogExporter } = load('@opentelemetry/exporter-logs-otlp-proto');
const { LoggerProvider, SimpleLogRecordProcessor } = load('@opentelemetry/sdk-logs');
const url = 'https://collector.example/x';
const meters = new MeterProvider({ readers: [new PeriodicExportingMetricReader({ exporter: new OTLPMetricExporter({ url }) })] });
meters.getMeter('a').createCounter('sold').add(1);
const logs = new LoggerProvider({ processors: [new SimpleLogRecordProcessor({ exporter: new OTLPLogExporter({ url }) })] });
logs.getLogger('a').emit({ body: 'sold one' });
Promise.all([meters.shutdown(), logs.shutdown()]).then(() => process.exit());`,
  );
  assert.strictEqual(how, 0);
  const come = probed.requests.map((one) => [one.path, one.headers['content-type'], one.body.includes('sold')]).sort();
  assert.deepStrictEqual(come, [
    ['/v1/logs', 'application/x-protobuf', true],
    ['/v1/metrics', 'application/json', true],
  ]);
  assert.deepStrictEqual(probed.of(pid).map((one) => one.k).filter((one) => one !== 'package'), ['process', 'exit']);
});

test('a program of ES modules is seen as one of CommonJS', async (t) => {
  const probed = new Probed(t);
  const { how, said, pid } = await probed.run(
    `import { BasicTracerProvider, SimpleSpanProcessor, InMemorySpanExporter } from '@opentelemetry/sdk-trace-base';
import { trace } from '@opentelemetry/api';
const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(new InMemorySpanExporter())] });
trace.setGlobalTracerProvider(provider);
trace.getTracer('a').startSpan('one').end();
console.log(provider instanceof BasicTracerProvider, provider.constructor === BasicTracerProvider, BasicTracerProvider.name);
await provider.shutdown();`,
    { name: 'program.mjs' },
  );
  assert.deepStrictEqual([how, said], [0, 'true true BasicTracerProvider\n']);
  const kinds = probed.of(pid).map((one) => one.k);
  assert.deepStrictEqual(kinds.filter((one) => one !== 'package'), ['process', 'provider', 'processor', 'set', 'start', 'end', 'shutdown', 'exit']);
  assert.match(outside(probed.of(pid, 'provider')[0].stack)[0], /^\/.*program\.mjs:3 /);
  assert.deepStrictEqual(probed.of(pid, 'processor').map((one) => [one.exporter_class, 'endpoint' in one]), [['InMemorySpanExporter', false]]);
});

test('the register alone: its instrumentations are automatic, and it takes SIGTERM', async (t) => {
  const probed = new Probed(t);
  const child = await probed.start(`require('http').createServer().listen(0, '127.0.0.1', () => console.log('listens'));`, { before: [kRegister] });
  await until('it listens', () => child.said.includes('listens'));
  const instruments = probed.of(child.pid, 'instrument');
  assert.ok(instruments.length > 20 && instruments.every((one) => one.automatic && !one.refused));
  assert.deepStrictEqual(instruments.filter((one) => one.library === 'http').map((one) => one.class), ['HttpInstrumentation']);
  const [signal] = probed.of(child.pid, 'signal');
  assert.strictEqual(signal.signal, 'SIGTERM');
  assert.match(signal.handler, /auto-instrumentations-node\/build\/src\/register\.js:\d+$/);
  assert.strictEqual(signal.stack.length, 1);
  child.kill('SIGTERM');
  await until('the SDK has ended', () => probed.of(child.pid, 'shutdown').length > 0);
  assert.strictEqual(child.exitCode, null); // as without the probe
  child.kill('SIGKILL');
  assert.strictEqual(await child.ended, 'SIGKILL');
  assert.deepStrictEqual(probed.of(child.pid, 'exit'), []);
});

test("the register and the program's NodeSDK: the second registration is refused, and who made each is told", async (t) => {
  const probed = new Probed(t);
  const { how, pid } = await probed.run(
    `${prelude('current')}
const { NodeSDK } = load('@opentelemetry/sdk-node');
const { HttpInstrumentation } = load('@opentelemetry/instrumentation-http');
const sdk = new NodeSDK({ serviceName: 'shop', instrumentations: [new HttpInstrumentation()] });
sdk.start();
process.exit(0);`,
    { before: [kRegister] },
  );
  assert.strictEqual(how, 0);
  const [first, second] = probed.of(pid, 'set');
  assert.deepStrictEqual(
    [first.accepted, second.accepted, second.first_pid, second.reason, 'reason' in first],
    [true, false, pid, 'duplicate', false],
  );
  assert.ok(first.stack.some((frame) => frame.includes('register.js')));
  assert.ok(second.stack.some((frame) => frame.includes('program.js')) && !second.stack.some((frame) => frame.includes('register.js')));
  const providers = probed.of(pid, 'provider').map((one) => one.id);
  assert.strictEqual(probed.of(pid, 'provider')[1].resource['service.name'], 'shop');
  assert.deepStrictEqual([first.provider, second.provider], providers);
  const https = probed.of(pid, 'instrument').filter((one) => one.library === 'http');
  assert.deepStrictEqual(https.map((one) => one.automatic), [true, false]);
  assert.match(https[1].stack.at(-1), /program\.js:\d+ /);
});

test('spans of an instrumentation are told apart from those of the program', async (t) => {
  const probed = new Probed(t);
  const { how, pid } = await probed.run(
    `${prelude('current')}
const http = require('http');
const { trace } = load('@opentelemetry/api');
const server = http.createServer((request, response) => {
  trace.getTracer('shop').startSpan('by hand');
  response.end('ok');
}).listen(0, '127.0.0.1', () => http.get({ port: server.address().port, host: '127.0.0.1' }, (answer) => {
  answer.resume();
  answer.on('end', () => setImmediate(() => process.exit(0)));
}));`,
    { before: [kRegister] },
  );
  assert.strictEqual(how, 0);
  const starts = probed.of(pid, 'start');
  const [server] = starts.filter((one) => one.kind === 2);
  assert.deepStrictEqual([server.by, server.scope], ['library', '@opentelemetry/instrumentation-http']);
  assert.match(server.at, /instrumentation-http\/build/);
  const [hand] = starts.filter((one) => one.name === 'by hand');
  assert.deepStrictEqual([hand.by, hand.parent], ['program', server.span]);
  const has = (kind, span) => probed.of(pid, kind).some((one) => one.span === span);
  assert.deepStrictEqual([has('activate', server.span), has('end', server.span)], [true, true]);
  assert.deepStrictEqual([has('activate', hand.span), has('end', hand.span)], [false, false]);
});

test('an instrumentation that comes late, or a second time, is told', async (t) => {
  const probed = new Probed(t);
  const { pid } = await probed.run(
    `${prelude('current')}
load('express');
const { ExpressInstrumentation } = load('@opentelemetry/instrumentation-express');
const { HttpInstrumentation } = load('@opentelemetry/instrumentation-http');
const { registerInstrumentations } = load('@opentelemetry/instrumentation');
new HttpInstrumentation().enable();
registerInstrumentations({ instrumentations: [new ExpressInstrumentation(), new ExpressInstrumentation()] });`,
  );
  const told = probed.of(pid, 'instrument').map((one) => [one.library, one.refused, one.late, one.automatic]);
  assert.deepStrictEqual(told, [
    ['http', false, false, false],
    ['http', true, false, false],
    ['express', false, true, false],
    ['express', false, true, false],
  ]);
  const [express] = probed.of(pid, 'package').filter((one) => one.name === 'express');
  assert.match(express.version, /^5\./);
});

test('one instrumentation made twice has two records, and there are two spans', async (t) => {
  const probed = new Probed(t);
  const { how, pid } = await probed.run(
    `${prelude('current')}
const { UndiciInstrumentation } = load('@opentelemetry/instrumentation-undici');
const { registerInstrumentations } = load('@opentelemetry/instrumentation');
const { NodeTracerProvider } = load('@opentelemetry/sdk-trace-node');
new NodeTracerProvider().register();
for (let i = 0; i < 2; ++i) registerInstrumentations({ instrumentations: [new UndiciInstrumentation()] });
const server = require('http').createServer((request, response) => response.end('ok')).listen(0, '127.0.0.1', async () => {
  await (await fetch('http://127.0.0.1:' + server.address().port)).text();
  process.exit();
});`,
  );
  assert.strictEqual(how, 0);
  const made = probed.of(pid, 'instrument').map((one) => [one.library, one.refused, outside(one.stack).length > 0]);
  assert.deepStrictEqual(made, [['undici', false, true], ['undici', false, true]]);
  assert.deepStrictEqual(probed.of(pid, 'start').map((one) => [one.kind, one.by]), [[3, 'library'], [3, 'library']]);
  assert.strictEqual(probed.of(pid, 'provider')[0].class, 'NodeTracerProvider');
});

test('a second copy of the API, of another version, is refused for its version', async (t) => {
  const probed = new Probed(t);
  const copy = path.join(probed.folder, 'lib/node_modules/@opentelemetry/api');
  fs.cpSync(path.join(packages('current'), 'node_modules/@opentelemetry/api'), copy, { recursive: true });
  const file = path.join(copy, 'build/src/version.js');
  fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace('1.9.0', '1.8.0'));
  const { how, said, pid } = await probed.run(
    `${prelude('current')}
const { BasicTracerProvider } = load('@opentelemetry/sdk-trace-base');
load('@opentelemetry/api').context.setGlobalContextManager({ active() {} });
console.log(require('./lib/node_modules/@opentelemetry/api').trace.setGlobalTracerProvider(new BasicTracerProvider()));`,
  );
  assert.deepStrictEqual([how, said], [0, 'false\n']);
  assert.deepStrictEqual(probed.of(pid, 'set').map((one) => [one.accepted, one.reason]), [[false, 'version']]);
  const copies = probed.of(pid, 'package').filter((one) => one.name === '@opentelemetry/api');
  assert.deepStrictEqual([copies.length, new Set(copies.map((one) => one.path)).size], [2, 2]);
});
