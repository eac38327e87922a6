'use strict';

const test = require('node:test');
const assert = require('node:assert');
const { load } = require('./packages');
const { fields, tree, kSpan, kAttribute } = require('./protobuf');
const { Writer, TooBig } = require('../lib/wire');
const { putSpan, putResource, scopeOf } = require('../lib/encoder');
const { crc32c } = require('../lib/crc32c');

test('crc32c gives the values of RFC 3720', () => {
  assert.strictEqual(crc32c(Buffer.from('123456789')), 0xe3069283);
  assert.strictEqual(crc32c(Buffer.alloc(32)), 0x8a9136aa);
  assert.strictEqual(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43);
  assert.strictEqual(crc32c(Buffer.from(Array.from({ length: 32 }, (_, i) => i))), 0x46dd794e);
});

// A span with everything that OTLP knows.
function makeSpan(require) {
  const { BasicTracerProvider } = require('@opentelemetry/sdk-trace-base');
  const api = require('@opentelemetry/api');
  const ended = [];
  const collect = {
    onStart() {}, onEnd: (span) => ended.push(span), forceFlush: async () => {}, shutdown: async () => {},
  };
  const provider = new BasicTracerProvider({ spanProcessors: [collect] });
  if (provider.addSpanProcessor && !ended.length) provider.addSpanProcessor(collect);
  const tracer = provider.getTracer('encoder', '1.2.3');
  const remote = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331', traceFlags: 1, isRemote: true };
  const context = api.trace.setSpanContext(api.ROOT_CONTEXT, remote);
  const attributes = {
    text: 'häßlich 漢字 🚀', long: 'x'.repeat(500), yes: true, no: false, int: 42, negative: -7, big: 2 ** 52, zero: 0,
    double: 1.25, empty: '', texts: ['a', 'bb', ''], numbers: [1, 2.5, -3], flags: [true, false],
  };
  const links = [{ context: { ...remote, spanId: '00f067aa0ba902b7', isRemote: false }, attributes: { why: 'link' } }];
  const span = tracer.startSpan('GET /things/:id', { kind: api.SpanKind.SERVER, attributes, links }, context);
  span.addEvent('something', { at: 1 });
  span.recordException(new Error('broken'));
  span.setStatus({ code: api.SpanStatusCode.ERROR, message: 'it broke' });
  span.end();
  const plain = tracer.startSpan('plain', { root: true });
  plain.end();
  return [...new Set(ended)];
}

for (const set of ['current', 'old']) {
  test(`spans of the ${set} SDK are encoded as its own transformer does`, () => {
    const require = load(set);
    const transformer = require('@opentelemetry/otlp-transformer');
    for (const span of makeSpan(require)) {
      const w = new Writer(256 << 10);
      putSpan(w, span);
      const bytes = transformer.ProtobufTraceSerializer
        ? transformer.ProtobufTraceSerializer.serializeRequest([span])
        : undefined;
      const resourceSpans = fields(bytes)[0].value;
      const scopeSpans = fields(resourceSpans).find((f) => f.field === 2).value;
      const theirs = fields(scopeSpans).find((f) => f.field === 2).value;
      // Defaults may be written or left out, the flags field and the remote bit are newer than the old one.
      const drop = (one) =>
        one.filter(([field, value]) => value !== '0' && !(Array.isArray(value) && value.length === 0 && field === 15) && !(set === 'old' && field === 16));
      const clean = (list) =>
        drop(list).map(([field, value]) => {
          if (field !== 13 && field !== 11 && field !== 15) return [field, value];
          return [field, value.filter(([f, v]) => v !== '0' && v !== '' && !(set === 'old' && f === 6))];
        }).filter(([field, value]) => !(field === 15 && value.length === 0));
      assert.deepStrictEqual(
        clean(tree(w.bytes.subarray(0, w.at), kSpan)),
        clean(tree(theirs, kSpan)),
      );
      const resource = new Writer(64 << 10);
      putResource(resource, span.resource.attributes);
      const ours = fields(resourceSpans).find((f) => f.field === 1).value;
      assert.deepStrictEqual(
        tree(resource.bytes.subarray(0, resource.at), { 1: kAttribute }),
        tree(ours, { 1: kAttribute }).filter(([, value]) => value !== '0'),
      );
      assert.strictEqual(scopeOf(span).name, 'encoder');
    }
  });
}

test('a span beyond the limit is refused, and the writer is good for the next one', () => {
  const w = new Writer(1024);
  assert.throws(() => putResource(w, { long: 'x'.repeat(2000) }), TooBig);
  w.at = 0;
  putResource(w, { short: 'x' });
  assert.strictEqual(fields(w.bytes.subarray(0, w.at)).length, 1);
});
