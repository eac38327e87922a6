// A log record is in the mailbox when emit() returns, whatever ends the process, once, and as the last processor
// has left it.
'use strict';

const test = require('node:test');
const assert = require('node:assert');
const path = require('node:path');
const { packages } = require('./packages');
const { Channel } = require('./channel');
const { readLane } = require('./mailbox_file');

const kPrelude = `
const load = require('node:module').createRequire(${JSON.stringify(path.join(packages('current'), 'x.js'))});
const { logs } = load('@opentelemetry/sdk-node');
const { OTLPLogExporter } = load('@opentelemetry/exporter-logs-otlp-proto');
const otlp = () => new OTLPLogExporter({ url: 'http://127.0.0.1:9/none' });
const batch = (exporter) => new logs.BatchLogRecordProcessor({ exporter });
const loggerOf = (...processors) => new logs.LoggerProvider({ processors }).getLogger('l');
const served = () => new Promise((resolve) => require('node:net').createServer().listen(0, () => setTimeout(resolve, 200)));
`;

async function linesOf(t, program) {
  const channel = new Channel(t);
  const child = await channel.start(kPrelude + program);
  await child.ended;
  const requests = readLane(channel.mailbox, 15).records.filter(({ kind, payload }) => kind === 3 && payload[0] === 2);
  return requests.flatMap(({ payload }) => payload.toString('latin1').match(/line-[a-z]+/g));
}

const kKill = 'process.kill(process.pid, "SIGKILL")';

test('before the claim and after it, in front of a SIGKILL', async (t) => {
  const lines = await linesOf(t, `const logger = loggerOf(batch(otlp()));
logger.emit({ body: 'line-before' });
served().then(() => { logger.emit({ body: 'line-after' }); ${kKill}; });`);
  assert.deepStrictEqual(lines, ['line-before', 'line-after']);
});

test('a job: in front of process.exit and of an exception', async (t) => {
  for (const end of ['process.exit(0)', 'process.on("uncaughtException", () => process.exit(1)); throw new Error("x")']) {
    assert.deepStrictEqual(await linesOf(t, `loggerOf(batch(otlp())).emit({ body: 'line-job' }); ${end};`), ['line-job'], end);
  }
});

test('with two exporters once', async (t) => {
  const simple = 'new logs.SimpleLogRecordProcessor({ exporter: otlp() })';
  const lines = await linesOf(t, `const logger = loggerOf(batch(otlp()), ${simple});
served().then(() => { logger.emit({ body: 'line-once' }); ${kKill}; });`);
  assert.deepStrictEqual(lines, ['line-once']);
});

test('a processor that masks behind it, and one around it', async (t) => {
  const masks = "onEmit(record) { record.setBody('line-masked'); }, forceFlush: async () => {}, shutdown: async () => {}";
  const behind = await linesOf(t, `const logger = loggerOf(batch(otlp()), { ${masks} });
served().then(() => { logger.emit({ body: 'line-secret' }); ${kKill}; });`);
  assert.deepStrictEqual(behind, ['line-masked']);
  const around = await linesOf(t, `const inner = batch(otlp());
const logger = loggerOf({ onEmit(record, c) { record.setBody('line-masked'); inner.onEmit(record, c); }, forceFlush: () => inner.forceFlush(), shutdown: () => inner.shutdown() });
served().then(() => { logger.emit({ body: 'line-secret' }); ${kKill}; });`);
  assert.deepStrictEqual(around, ['line-masked']);
});

test("an exporter of the program's around an OTLP one gets its batch as ever", async (t) => {
  const lines = await linesOf(t, `const inner = otlp();
let size = 0;
const own = { export(records, done) { size = records.length; inner.export(records, done); }, shutdown: async () => {}, forceFlush: async () => {} };
const processor = batch(own);
const logger = loggerOf(processor);
served().then(async () => {
  logger.emit({ body: 'line-a' });
  logger.emit({ body: 'line-b' });
  await processor.forceFlush();
  if (size === 2) ${kKill};
});`);
  assert.deepStrictEqual(lines, ['line-a', 'line-b']);
});
