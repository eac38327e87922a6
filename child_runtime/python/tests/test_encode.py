"""The encoder against the official one of OpenTelemetry, field by field."""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from runmain import _encode


def make(limits=None, **resource):
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create(resource), span_limits=limits)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    return memory, provider.get_tracer("scope", "1.2", schema_url="https://schema.example")


class EncodeTest(unittest.TestCase):
    def check(self, memory):
        spans = memory.get_finished_spans()
        for span in spans:
            theirs = encode_spans([span]).resource_spans[0].scope_spans[0].spans[0]
            ours = trace_pb2.Span()
            ours.ParseFromString(_encode.encode_span(span))
            if hasattr(theirs, "flags"):  # from opentelemetry-proto 1.1 on
                # The flags of the W3C are in ours, too, as the specification has it.
                self.assertEqual(ours.flags & 0x300, theirs.flags & 0x300)
                self.assertEqual(ours.flags & 0xFF, int(span.context.trace_flags))
                theirs.flags = ours.flags
            else:
                ours = trace_pb2.Span.FromString(ours.SerializeToString())
                ours.DiscardUnknownFields()
            # Theirs may have an empty status, which says the same.
            self.assertEqual((ours.status.code, ours.status.message), (theirs.status.code, theirs.status.message))
            ours.status.SetInParent()
            theirs.status.SetInParent()
            for a, b in zip(ours.links, theirs.links):
                if hasattr(a, "flags"):
                    self.assertEqual(a.flags & 0x300, b.flags & 0x300)
                    b.flags = a.flags
                b.trace_state = a.trace_state  # theirs leaves it out
            self.assertEqual(ours, theirs)
        return spans

    def test_a_span_with_everything(self):
        memory, tracer = make()
        remote = SpanContext(0x1234, 0x77, True, TraceFlags(1), TraceState([("a", "b"), ("c", "d")]))
        parent = trace.set_span_in_context(trace.NonRecordingSpan(remote))
        attributes = {"text": "é" * 100, "empty": "", "int": 5, "negative": -3, "large": (1 << 62), "float": 1.5, "yes": True, "no": False}
        attributes.update({"texts": ("a", "b"), "ints": [1, 2, -1], "floats": [0.5], "bools": [True, False], "none": ()})
        links = [Link(remote, {"x": 1}), Link(SpanContext(1, 2, False))]
        with tracer.start_as_current_span("näme", parent, SpanKind.SERVER, attributes, links) as span:
            span.add_event("event", {"k": "v" * 300, "n": 7})
            span.add_event("bare")
            span.set_attribute("many", "x" * 20000)
            span.set_status(Status(StatusCode.ERROR, "why"))
            with tracer.start_as_current_span("child", kind=SpanKind.CLIENT):
                pass
        self.assertEqual(len(self.check(memory)), 2)

    def test_limits_leave_their_counts(self):
        limits = SpanLimits(max_attributes=2, max_events=1, max_links=1, max_event_attributes=1, max_attribute_length=4)
        memory, tracer = make(limits)
        links = [Link(SpanContext(1, i + 1, False)) for i in range(4)]
        with tracer.start_as_current_span("limited", attributes={"a": "123456", "b": 1, "c": 2}, links=links) as span:
            for _ in range(3):
                span.add_event("e", {"x": 1, "y": 2})
        self.check(memory)

    def test_status_and_kinds(self):
        memory, tracer = make()
        for kind in SpanKind:
            with tracer.start_as_current_span("", kind=kind) as span:
                span.set_status(Status(StatusCode.OK))
        try:
            with tracer.start_as_current_span("raises"):
                raise ValueError("x")
        except ValueError:
            pass
        self.check(memory)

    def test_lone_surrogates_and_huge_integers_are_no_error(self):
        self.assertIn(b"?", _encode.any_value("\ud800"))
        value = common_pb2.AnyValue()
        value.ParseFromString(_encode.any_value(1 << 70))
        self.assertEqual(value.string_value, str(1 << 70))

    def test_nested_values(self):
        value = common_pb2.AnyValue()
        value.ParseFromString(_encode.any_value({"a": [1, {"b": b"\x00\xff"}], "c": None}))
        self.assertEqual(value.kvlist_value.values[0].value.array_value.values[1].kvlist_value.values[0].value.bytes_value, b"\x00\xff")

    def test_resource_and_scope(self):
        memory, tracer = make(**{"service.name": "x", "service.instance.id": "old"})
        tracer.start_span("s").end()
        span = memory.get_finished_spans()[0]
        ours = resource_pb2.Resource()
        ours.ParseFromString(_encode.encode_resource(span.resource.attributes, {"service.instance.id": "new", "runmain.worker": 3}))
        found = {a.key: a.value for a in ours.attributes}
        self.assertEqual(found["service.instance.id"].string_value, "new")
        self.assertEqual(found["runmain.worker"].int_value, 3)
        self.assertEqual(len(ours.attributes), len(found))
        entry = _encode.encode_scope(span.instrumentation_scope)
        size = int.from_bytes(entry[:4], "little")
        self.assertEqual(entry[8 : 8 + size], b"https://schema.example")
        scope = common_pb2.InstrumentationScope()
        scope.ParseFromString(entry[8 + size :])
        self.assertEqual((scope.name, scope.version), ("scope", "1.2"))


if __name__ == "__main__":
    unittest.main()
