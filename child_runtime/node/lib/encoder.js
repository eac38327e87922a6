// OTLP messages by hand: Span, Resource, InstrumentationScope, of spans of @opentelemetry/sdk-trace-base 1.x
// and 2.x (and sdk-trace). Field numbers: opentelemetry/proto/trace/v1/trace.proto, common/v1, resource/v1.
'use strict';

const kNestingMax = 8; // of arrays and maps in an attribute
const kHasRemote = 0x100; // of Span.flags: whether the parent is remote is known …
const kIsRemote = 0x200; // … and it is

function putValue(w, value, depth) {
  switch (typeof value) {
    case 'string':
      return w.text(1, value);
    case 'boolean':
      w.tag(2, 0);
      return w.varint(value ? 1 : 0);
    case 'number':
      if (Number.isSafeInteger(value)) {
        w.tag(3, 0);
        return w.int64(value);
      }
      w.tag(4, 1);
      w.need(8);
      w.view.setFloat64(w.at, value, true);
      w.at += 8;
      return undefined;
    case 'bigint':
      w.tag(3, 0);
      return w.int64(BigInt.asIntN(64, value));
    case 'object':
      return value === null || depth > kNestingMax ? undefined : putCompound(w, value, depth);
    default:
      return undefined; // an empty AnyValue
  }
}

function putCompound(w, value, depth) {
  if (value instanceof Uint8Array) return w.blob(7, value);
  const isArray = Array.isArray(value);
  const all = w.begin(isArray ? 5 : 6);
  if (isArray) {
    for (const one of value) {
      const from = w.begin(1);
      putValue(w, one, depth + 1);
      w.end(from);
    }
  } else {
    putAttributes(w, 1, value, depth + 1);
  }
  return w.end(all);
}

function putAttribute(w, field, key, value, depth) {
  const pair = w.begin(field);
  w.text(1, key);
  const from = w.begin(2);
  putValue(w, value, depth);
  w.end(from);
  w.end(pair);
}

function putAttributes(w, field, attributes, depth = 0) {
  for (const key in attributes) {
    if (attributes[key] !== undefined) putAttribute(w, field, key, attributes[key], depth);
  }
}

function flagsOf(traceFlags, isRemote) {
  return (traceFlags & 0xff) | kHasRemote | (isRemote ? kIsRemote : 0);
}

function parentOf(span) {
  const parent = span.parentSpanContext; // 2.x
  return parent ? parent.spanId : span.parentSpanId;
}

function putEvent(w, event) {
  const from = w.begin(11);
  w.time(1, event.time);
  w.text(2, event.name);
  putAttributes(w, 3, event.attributes);
  w.uint(4, event.droppedAttributesCount);
  w.end(from);
}

function putLink(w, link) {
  const from = w.begin(13);
  w.id(1, link.context.traceId);
  w.id(2, link.context.spanId);
  if (link.context.traceState) w.text(3, link.context.traceState.serialize());
  putAttributes(w, 4, link.attributes);
  w.uint(5, link.droppedAttributesCount);
  w.fixed32(6, flagsOf(link.context.traceFlags, link.context.isRemote));
  w.end(from);
}

function putSpan(w, span) {
  const context = span.spanContext();
  w.id(1, context.traceId);
  w.id(2, context.spanId);
  if (context.traceState) w.text(3, context.traceState.serialize());
  const parent = parentOf(span);
  if (parent) w.id(4, parent);
  w.text(5, span.name);
  w.uint(6, span.kind + 1);
  w.time(7, span.startTime);
  w.time(8, span.endTime);
  putAttributes(w, 9, span.attributes);
  w.uint(10, span.droppedAttributesCount);
  for (const event of span.events) putEvent(w, event);
  w.uint(12, span.droppedEventsCount);
  for (const link of span.links) putLink(w, link);
  w.uint(14, span.droppedLinksCount);
  if (span.status.code !== 0 || span.status.message) {
    const from = w.begin(15);
    if (span.status.message) w.text(2, span.status.message);
    w.uint(3, span.status.code);
    w.end(from);
  }
  w.fixed32(16, flagsOf(context.traceFlags, span.parentSpanContext && span.parentSpanContext.isRemote));
}

function putResource(w, attributes) {
  putAttributes(w, 1, attributes);
}

function putScope(w, scope) {
  w.text(1, scope.name || '');
  if (scope.version) w.text(2, scope.version);
  if (scope.attributes) putAttributes(w, 3, scope.attributes);
}

// What a span says of who made it: 2.x, 1.x.
function scopeOf(span) {
  return span.instrumentationScope || span.instrumentationLibrary || { name: '' };
}

module.exports = { putSpan, putResource, putScope, putAttributes, scopeOf, parentOf, flagsOf };
