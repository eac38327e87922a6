// Where something of the program's masks or filters its spans in front of an OTLP exporter, what comes out there
// is in the mailbox, once, and nothing of what went in.
'use strict';

const test = require('node:test');
const assert = require('node:assert');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { packages } = require('./packages');
const { Channel } = require('./channel');
const { readLane } = require('./mailbox_file');
const { spansOf, until } = require('./runmain');

const kSets = ['current', 'old'];
const kPackage = path.resolve(__dirname, '..');

// What the programs have in common. `wrappers` make a processor each.
function prelude(set) {
  return `
const load = require('node:module').createRequire(${JSON.stringify(path.join(packages(set), 'x.js'))});
const { BasicTracerProvider, BatchSpanProcessor, SimpleSpanProcessor } = load('@opentelemetry/sdk-trace-base');
const { OTLPTraceExporter } = load('@opentelemetry/exporter-trace-otlp-http');
const otlp = () => new OTLPTraceExporter({ url: 'http://127.0.0.1:9/v1/traces' });
const masked = (span) => Object.create(span, { attributes: { value: { ...span.attributes, secret: '***' }, enumerable: true } });
const kept = (spans) => spans.filter((span) => !span.name.includes('health')).map(masked);
class Redacting {
  constructor(inner) { this.inner = inner; }
  export(spans, done) { this.inner.export(kept(spans), done); }
  shutdown() { return this.inner.shutdown(); }
  forceFlush() { return Promise.resolve(); }
}
class Private {
  #inner;
  constructor(inner) { this.#inner = inner; }
  export(spans, done) { this.#inner.export(kept(spans), done); }
  shutdown() { return Promise.resolve(); }
}
function closure(inner) {
  const forward = (spans, done) => inner.export(spans, done);
  return { export: (spans, done) => forward(kept(spans), done), shutdown: () => Promise.resolve() };
}
class Subclass extends OTLPTraceExporter {
  export(spans, done) { super.export(kept(spans), done); }
}
function replaced(exporter) {
  const send = exporter.export.bind(exporter);
  exporter.export = (spans, done) => send(kept(spans), done);
  return exporter;
}
function bound(inner) {
  function send(to, spans, done) { to.export(kept(spans), done); }
  return { export: send.bind(null, inner), shutdown: () => Promise.resolve() };
}
function proxy(inner) {
  const send = (spans, done) => inner.export(kept(spans), done);
  return new Proxy(inner, { get: (target, name) => (name === 'export' ? send : target[name]) });
}
const held = new WeakMap(); // as compilers write private fields
class Compiled {
  constructor(inner) { held.set(this, inner); }
  export(spans, done) { held.get(this).export(kept(spans), done); }
  shutdown() { return Promise.resolve(); }
}
class Filtering {
  constructor(...inner) { this.inner = new Map([['all', inner]]); }
  onStart(...args) { for (const one of this.inner.get('all')) one.onStart(...args); }
  onEnd(span) { for (const one of this.inner.get('all')) for (const other of kept([span])) one.onEnd(other); }
  forceFlush() { return Promise.all(this.inner.get('all').map((one) => one.forceFlush())); }
  shutdown() { return Promise.all(this.inner.get('all').map((one) => one.shutdown())); }
}
class FilteringSimple extends SimpleSpanProcessor {
  onEnd(span) { for (const one of kept([span])) super.onEnd(one); }
}
class FilteringBuffer extends BatchSpanProcessor {
  _addToBuffer(span) { for (const one of kept([span])) super._addToBuffer(one); }
}
function providerOf(...processors) {
  if (!BasicTracerProvider.prototype.addSpanProcessor) return new BasicTracerProvider({ spanProcessors: processors });
  const provider = new BasicTracerProvider();
  for (const one of processors) provider.addSpanProcessor(one);
  return provider;
}
const make = (tracer, name) => tracer.startSpan(name, { attributes: { secret: 'unmasked' } }).end();
const served = () => new Promise((resolve) => {
  require('node:net').createServer().listen(0, () => setTimeout(resolve, 100));
});
const end = () => process.kill(process.pid, 'SIGKILL');
`;
}

function recordsOf(channel) {
  const records = [];
  for (let lane = 0; lane < 16; ++lane) records.push(...readLane(channel.mailbox, lane).records);
  return {
    spans: records.filter((record) => record.kind === 2).map((record) => record.payload.toString('latin1')),
    handed: records.filter((r) => r.kind === 3 && r.payload[0] === 0).flatMap((r) => spansOf(r.payload.subarray(8))),
  };
}

function assertMasked(channel) {
  const all = fs.readFileSync(channel.mailbox, 'latin1');
  assert.ok(!all.includes('unmasked'), 'nothing is there as it was');
  assert.ok(!all.includes('health'), 'what was dropped is not there');
}

async function run(t, set, program, env = {}) {
  const channel = new Channel(t);
  const child = await channel.start(prelude(set) + program, { RUNMAIN_INSTANCE_ID: 'an-id', ...env });
  assert.strictEqual(await child.ended, 'SIGKILL');
  return { channel, child, ...recordsOf(channel) };
}

const kWrappers = {
  'around the exporter': {
    attribute: 'new BatchSpanProcessor(new Redacting(otlp()))',
    twice: 'new SimpleSpanProcessor(new Redacting(new Redacting(otlp())))',
    subclass: "new BatchSpanProcessor(new Subclass({ url: 'http://127.0.0.1:9/' }))",
    replaced: 'new SimpleSpanProcessor(replaced(otlp()))',
  },
  'around the exporter, out of sight': {
    private: 'new BatchSpanProcessor(new Private(otlp()))',
    closure: 'new SimpleSpanProcessor(closure(otlp()))',
    bound: 'new BatchSpanProcessor(bound(otlp()))',
    proxy: 'new SimpleSpanProcessor(proxy(otlp()))',
    compiled: 'new BatchSpanProcessor(new Compiled(otlp()))',
  },
  'around the processor': {
    filtering: 'new Filtering(new BatchSpanProcessor(otlp()))',
    simple: 'new FilteringSimple(otlp())',
    buffer: 'new FilteringBuffer(otlp())',
    two: 'new Filtering(new SimpleSpanProcessor(new Redacting(otlp())))',
  },
};

for (const set of kSets) {
  for (const [where, wrappers] of Object.entries(kWrappers)) {
    test(`${set}: ${where}: what is handed on is in the mailbox, before and after the claim`, async (t) => {
      const made = Object.entries(wrappers).map(([name, text]) => `${name}: providerOf(${text})`);
      const { channel, spans, handed } = await run(t, set, `
const all = { ${made.join(', ')} };
async function round(when) {
  for (const [name, provider] of Object.entries(all)) {
    for (const what of [when, 'health']) make(provider.getTracer('t'), name + ' ' + what);
    await provider.forceFlush();
  }
}
round('before').then(served).then(() => round('after')).then(end);`);
      const names = Object.keys(wrappers).flatMap((name) => [`${name} after`, `${name} before`]);
      assert.deepStrictEqual(handed.map((span) => span.name).sort(), names.sort());
      for (const { attributes, resource } of handed) {
        assert.strictEqual(attributes.secret, '***');
        assert.strictEqual(resource['service.instance.id'], 'an-id');
      }
      assert.deepStrictEqual(spans, []);
      assertMasked(channel);
    });
  }

  test(`${set}: plain processors: spans are there at their end, and no request`, async (t) => {
    const { spans, handed } = await run(t, set, `
const all = [providerOf(new BatchSpanProcessor(otlp())), providerOf(new SimpleSpanProcessor(otlp())), providerOf()];
served().then(() => {
  all.forEach((provider, i) => make(provider.getTracer('t'), 'plain ' + i));
  end();
});`);
    assert.deepStrictEqual(spans.map((text) => /plain \d/.exec(text)[0]).sort(), ['plain 0', 'plain 1', 'plain 2']);
    assert.deepStrictEqual(handed, []);
  });

  test(`${set}: a plain processor beside a masking one: once, as they are; and an exporter of two providers`, async (t) => {
    const { spans, handed } = await run(t, set, `
const shared = otlp();
const all = {
  beside: providerOf(new SimpleSpanProcessor(new Redacting(otlp())), new BatchSpanProcessor(otlp())),
  plain: providerOf(new SimpleSpanProcessor(shared)),
  masking: providerOf(new SimpleSpanProcessor(new Redacting(shared))),
};
for (const provider of Object.values(all)) provider.getTracer('t');
served().then(async () => {
  for (const [name, provider] of Object.entries(all)) {
    make(provider.getTracer('t'), 'of ' + name);
    await provider.forceFlush();
  }
  end();
});`);
    assert.deepStrictEqual(spans.map((text) => /of [a-z]+/.exec(text)[0]).sort(), ['of beside', 'of plain']);
    assert.deepStrictEqual(handed.map((span) => [span.name, span.attributes.secret]), [['of masking', '***']]);
  });

  test(`${set}: one that comes when ours is there already: a span that is open then is counted as lost`, async (t) => {
    const { channel, spans, handed } = await run(t, set, `
const provider = providerOf();
const tracer = provider.getTracer('t');
const add = (one) => (provider.addSpanProcessor ? provider.addSpanProcessor(one) : provider._activeSpanProcessor._spanProcessors.push(one));
served().then(async () => {
  const open = tracer.startSpan('open', { attributes: { secret: 'unmasked' } });
  add(new Filtering(new BatchSpanProcessor(otlp())));
  open.end();
  make(tracer, 'after');
  make(tracer, 'health');
  await provider.forceFlush();
  end();
});`);
    assert.deepStrictEqual(spans, []);
    const after = handed.filter((span) => span.name !== 'open').map((span) => [span.name, span.attributes.secret]);
    assert.deepStrictEqual(after, [['after', '***']]);
    assertMasked(channel);
    const { lane } = readLane(channel.mailbox, 15);
    assert.deepStrictEqual([lane.readBigUInt64LE(8), lane.readBigUInt64LE(16)], [1n, 1n]); // started, ended
    assert.strictEqual(lane.readBigUInt64LE(64 + 3 * 8), 1n); // lost: not serving
  });

  test(`${set}: a processor that changes spans in place, wherever it stands, comes before ours`, async (t) => {
    const { channel, spans } = await run(t, set, `
class InPlace {
  onStart() {}
  onEnd(span) { span.attributes.secret = '***'; }
  forceFlush() { return Promise.resolve(); }
  shutdown() { return Promise.resolve(); }
}
const provider = providerOf(new BatchSpanProcessor(otlp()), new InPlace());
const later = provider.addSpanProcessor ? providerOf(new BatchSpanProcessor(otlp())) : providerOf(new InPlace());
later.getTracer('t');
if (later.addSpanProcessor) later.addSpanProcessor(new InPlace());
served().then(() => {
  make(provider.getTracer('t'), 'one');
  make(later.getTracer('t'), 'two');
  end();
});`);
    assert.strictEqual(spans.length, 2);
    assertMasked(channel);
  });

  test(`${set}: an export that is replaced later counts from then on`, async (t) => {
    const { spans, handed } = await run(t, set, `
const exporter = otlp();
const provider = providerOf(new SimpleSpanProcessor(exporter));
served().then(async () => {
  make(provider.getTracer('t'), 'first');
  await provider.forceFlush();
  replaced(exporter);
  make(provider.getTracer('t'), 'second');
  await provider.forceFlush();
  end();
});`);
    assert.strictEqual(spans.length, 1);
    assert.ok(spans[0].includes('first'));
    assert.deepStrictEqual(handed.map((span) => [span.name, span.attributes.secret]), [['second', '***']]);
  });

  test(`${set}: by sdk-node, as exporter and as processor`, async (t) => {
    for (const settings of ['traceExporter: new Redacting(otlp())', 'spanProcessors: [new Filtering(new BatchSpanProcessor(otlp()))]']) {
      const { channel, spans, handed } = await run(t, set, `
const { NodeSDK } = load('@opentelemetry/sdk-node');
const sdk = new NodeSDK({ ${settings}, instrumentations: [], autoDetectResources: false });
sdk.start();
const tracer = load('@opentelemetry/api').trace.getTracer('t');
make(tracer, 'before');
served().then(() => {
  make(tracer, 'after');
  make(tracer, 'health');
  return sdk.shutdown();
}).then(end);`, { OTEL_METRICS_EXPORTER: 'none', OTEL_LOGS_EXPORTER: 'none' });
      assert.deepStrictEqual(handed.map((span) => span.name), ['before', 'after'], settings);
      assert.deepStrictEqual(spans, []);
      assertMasked(channel);
    }
  });
}

test('old: an exporter that masks where it sends does that itself, and nothing else is written', async (t) => {
  const { channel, child } = await run(t, 'old', `
class Sending extends OTLPTraceExporter {
  send(spans, sent) { sent(console.log(JSON.stringify(kept(spans).map((span) => [span.name, span.attributes.secret])))); }
}
const provider = providerOf(new SimpleSpanProcessor(new Sending()));
served().then(async () => {
  make(provider.getTracer('t'), 'one');
  await provider.forceFlush();
  end();
});`);
  assert.strictEqual(child.said, '[["one","***"]]\n');
  assertMasked(channel);
});

test('a processor of the mailbox behind one that masks writes what it is given', async (t) => {
  const { channel, spans } = await run(t, 'current', `
const { MailboxSpanProcessor } = require(${JSON.stringify(kPackage)});
const provider = providerOf(new Filtering(new MailboxSpanProcessor()));
served().then(() => {
  make(provider.getTracer('t'), 'one');
  end();
});`);
  assert.strictEqual(spans.length, 1);
  assert.ok(!fs.readFileSync(channel.mailbox, 'latin1').includes('unmasked'));
});

test('more than a request holds is handed on in several, and who masks may take it back', async (t) => {
  const { handed } = await run(t, 'current', `
const provider = providerOf(new BatchSpanProcessor({
  inner: otlp(),
  export(spans, done) {
    const before = spans.map((span) => span.attributes.secret);
    for (const span of spans) span.attributes.secret = '*'.repeat(1000);
    this.inner.export(spans, done);
    spans.forEach((span, i) => (span.attributes.secret = before[i]));
  },
  shutdown: () => Promise.resolve(),
}));
for (let i = 0; i < 5; ++i) make(provider.getTracer('t'), 'span ' + i);
provider.forceFlush().then(served).then(end);`);
  assert.deepStrictEqual(handed.map((span) => span.name), [0, 1, 2, 3, 4].map((i) => `span ${i}`));
  for (const span of handed) assert.strictEqual(span.attributes.secret, '*'.repeat(1000));
});

test('without a mailbox what is handed on goes to the receiver', async (t) => {
  const spans = [];
  const server = http.createServer((request, response) => {
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => {
      spans.push(...spansOf(Buffer.concat(parts)));
      response.end();
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const channel = new Channel(t);
  const program = `${prelude('current')}
const provider = providerOf(new SimpleSpanProcessor(new Redacting(otlp())));
make(provider.getTracer('t'), 'before');
served().then(() => {
  make(provider.getTracer('t'), 'after');
  make(provider.getTracer('t'), 'health');
  setTimeout(() => {}, 20000);
});`;
  const endpoint = `http://127.0.0.1:${server.address().port}`;
  const child = await channel.start(program, { RUNMAIN_CHANNEL: '/nowhere', OTEL_EXPORTER_OTLP_ENDPOINT: endpoint });
  await until('both are there', () => spans.length >= 2, 10000);
  await new Promise((resolve) => setTimeout(resolve, 300)); // one that comes twice would come now
  child.kill('SIGKILL');
  assert.deepStrictEqual(spans.map((span) => [span.name, span.attributes.secret]), [['before', '***'], ['after', '***']]);
});
