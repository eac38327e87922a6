// A provider of the program's own that comes after the one that was made for it: the program's counts.
'use strict';

const test = require('node:test');
const assert = require('node:assert');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { packages } = require('./packages');
const { Channel } = require('./channel');
const { until } = require('./runmain');
const { readLane } = require('./mailbox_file');

const kSpan = (name) => `api.trace.getTracer('a').startSpan('${name}', { kind: 1 }).end();`;
const kHead = `
require('node:http');
const api = require('@opentelemetry/api');
const runmain = require(${JSON.stringify(path.resolve(__dirname, '..'))});
const early = api.trace.getTracer('early');
`;
const kOwn = `
const base = require('@opentelemetry/sdk-trace-base');
api.trace.setGlobalTracerProvider(new base.BasicTracerProvider());
`;
const kEnd = `runmain.serve().then(() => setTimeout(() => process.exit(0), 200));`;
const kWitness = path.resolve(__dirname, '../../../tests/runners/witness/witness.js');
const kQuiet = { RUNMAIN_AUTO: '1', OTEL_METRICS_EXPORTER: 'none', OTEL_LOGS_EXPORTER: 'none', OTEL_NODE_RESOURCE_DETECTORS: 'env' };

async function run(t, program, env) {
  const channel = new Channel(t);
  fs.symlinkSync(path.join(packages('current'), 'node_modules'), path.join(channel.folder, 'node_modules'));
  const child = await channel.start(kHead + program + kEnd, { ...kQuiet, ...env });
  assert.strictEqual(await child.ended, 0);
  const text = [];
  for (let lane = 0; lane < 20; ++lane) text.push(...readLane(channel.mailbox, lane).records.map((r) => r.payload.toString('latin1')));
  const names = text.map((one) => /span-[a-z]+/.exec(one)?.[0]).sort();
  return { names, said: [...child.said.matchAll(/name: '(span-[a-z]+)'/g)].map((found) => found[1]).sort(), child };
}

test('the exporters that the environment names work, beside the mailbox', async (t) => {
  const console = await run(t, kSpan('span-one'), { OTEL_TRACES_EXPORTER: 'console' });
  assert.deepStrictEqual([console.names, console.said], [['span-one'], ['span-one']]);
  const both = await run(t, kSpan('span-one'), { OTEL_TRACES_EXPORTER: 'console,otlp' });
  assert.deepStrictEqual([both.names, both.said], [['span-one'], ['span-one']]);
  const otlp = await run(t, kSpan('span-one'), { OTEL_TRACES_EXPORTER: 'otlp' });
  assert.deepStrictEqual([otlp.names, otlp.said], [['span-one'], []]);
});

test('none of them: no spans', async (t) => {
  const none = await run(t, kSpan('span-one'), { OTEL_TRACES_EXPORTER: 'none' });
  assert.deepStrictEqual([none.names, none.said], [[], []]);
});

test('processors of ours are handed over to the program\'s provider', async (t) => {
  const program = `${kSpan('span-before')}${kOwn}${kSpan('span-own')}early.startSpan('span-early').end();`;
  const { names, said } = await run(t, program, { OTEL_TRACES_EXPORTER: 'console' });
  assert.deepStrictEqual(names, ['span-before', 'span-early', 'span-own']);
  assert.deepStrictEqual(said, ['span-before', 'span-early', 'span-own']);
});

test('it counts as well where the witness of tests/runners looks on, who notes each that is set', async (t) => {
  const program = `${kSpan('span-before')}${kOwn}${kSpan('span-own')}early.startSpan('span-early').end();
console.log(require('node:fs').readFileSync(process.env.RUNNERS_WITNESS, 'utf8').replaceAll(process.pid, 'pid'));`;
  const witness = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'runmain-node-')), 'witness');
  t.after(() => fs.rmSync(path.dirname(witness), { recursive: true }));
  const env = { OTEL_TRACES_EXPORTER: 'console', NODE_OPTIONS: `--require ${kWitness}`, RUNNERS_WITNESS: witness };
  const { names, said, child } = await run(t, program, env);
  assert.deepStrictEqual([names, said], [['span-before', 'span-early', 'span-own'], ['span-before', 'span-early', 'span-own']]);
  assert.deepStrictEqual(child.said.match(/pid provider/g), ['pid provider', 'pid provider']);
});

test('a provider that implements the API alone wins', async (t) => {
  const program = `${kSpan('span-before')}
const tracer = { startSpan: (name) => (console.log('plain ' + name), api.trace.wrapSpanContext(api.INVALID_SPAN_CONTEXT)) };
api.trace.setGlobalTracerProvider({ getTracer: () => tracer });
${kSpan('span-plain')}early.startSpan('span-early').end();`;
  const { names, child } = await run(t, program, {});
  assert.deepStrictEqual(names, ['span-before']);
  assert.deepStrictEqual(child.said.trim().split('\n'), ['plain span-plain', 'plain span-early']);
});

test('metrics of ours go on when the program has a provider of tracers', async (t) => {
  const channel = new Channel(t);
  fs.symlinkSync(path.join(packages('current'), 'node_modules'), path.join(channel.folder, 'node_modules'));
  await channel.start(`${kHead}${kOwn}
const counter = api.metrics.getMeter('m').createCounter('a.counter.of.ours');
setTimeout(() => counter.add(1), 100);
setInterval(() => {}, 1000);
runmain.serve();`, { ...kQuiet, OTEL_METRICS_EXPORTER: 'otlp', OTEL_METRIC_EXPORT_INTERVAL: '200', OTEL_METRIC_EXPORT_TIMEOUT: '100' });
  await until('it is exported', () => fs.readFileSync(channel.mailbox, 'latin1').includes('a.counter.of.ours'));
});

test('a provider of loggers of the program\'s own wins', async (t) => {
  const { child } = await run(t, `
const { logs } = require('@opentelemetry/sdk-node');
const found = require('node:module').createRequire(require.resolve('@opentelemetry/sdk-node'))('@opentelemetry/api-logs');
const processor = { onEmit: (record) => console.log('own ' + record.body), forceFlush: async () => {}, shutdown: async () => {} };
found.logs.setGlobalLoggerProvider(new logs.LoggerProvider({ processors: [processor] }));
found.logs.getLogger('l').emit({ body: 'line' });
`, { OTEL_LOGS_EXPORTER: 'otlp' });
  assert.strictEqual(child.said, 'own line\n');
});
