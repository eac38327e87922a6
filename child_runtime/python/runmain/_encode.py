"""OTLP protobuf by hand: Span, Resource, InstrumentationScope (opentelemetry-proto 1.x).

Invariant: what comes out is what the official encoder of opentelemetry-exporter-otlp-proto-common makes of the same
object, byte order of fields apart (tests/test_encode.py). By hand, because a span's end pays for it: about 10 us
instead of 100, and no protobuf package is needed. Non-goals: metrics and logs.
"""
import struct

_double = struct.Struct("<Bd")
_fixed64_pair = struct.Struct("<BQBQ")  # two fields with their tags
_fixed64 = struct.Struct("<BQ")
_fixed32 = struct.Struct("<HI")  # a tag of two bytes

_SMALL = [bytes((i,)) for i in range(128)]
_MASK = (1 << 64) - 1
_STRINGS_MAX = 2048  # of attributes that are kept encoded
_STRING_LENGTH_MAX = 128
_DEPTH_MAX = 16  # of values in values
_HAS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200

_strings = {}  # (key, value) -> what follows a tag


def varint(number):
    if number < 128:
        return _SMALL[number]
    if number < 16384:
        return bytes((number & 127 | 128, number >> 7))
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def text_bytes(text):
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return text.encode("utf-8", "replace")
    except AttributeError:  # a name or a version that is no text
        return str(text).encode("utf-8", "replace")


def time_of(value):
    """Nanoseconds; time.time() * 1e9 is a float."""
    return value if type(value) is int else int(value or 0)


def _sized(tag, content):
    return tag + varint(len(content)) + content


def _text(tag, text):
    return _sized(tag, text_bytes(text)) if text else b""


def any_value(value, depth=0):
    """An AnyValue's content."""
    kind = type(value)
    if kind is str:
        return _sized(b"\x0a", text_bytes(value))
    if kind is bool:
        return b"\x10\x01" if value else b"\x10\x00"
    if kind is int:
        if -(1 << 63) <= value < 1 << 63:
            return b"\x18" + varint(value & _MASK)
        return _sized(b"\x0a", str(value).encode())  # OTLP has no larger numbers
    if kind is float:
        return _double.pack(0x21, value)
    if value is None or depth > _DEPTH_MAX:
        return b""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _sized(b"\x3a", bytes(value))
    if isinstance(value, (list, tuple)):
        return _sized(b"\x2a", b"".join([_sized(b"\x0a", any_value(one, depth + 1)) for one in value]))
    if hasattr(value, "items"):
        return _sized(b"\x32", b"".join([b"\x0a" + key_value(k, v, depth + 1) for k, v in value.items()]))
    for base in (str, int, float):  # enumerations and the like
        if isinstance(value, base):
            return any_value(base(value), depth)
    return _sized(b"\x0a", text_bytes(str(value)))


def key_value(key, value, depth=0):
    """A KeyValue with its length in front."""
    kept = None
    if type(value) is str and len(value) <= _STRING_LENGTH_MAX:
        kept = (key, value)
        found = _strings.get(kept)
        if found is not None:
            return found
    name = text_bytes(key if type(key) is str else str(key))
    inner = _sized(b"\x0a", name) + _sized(b"\x12", any_value(value, depth))
    made = varint(len(inner)) + inner
    if kept is not None:
        if len(_strings) >= _STRINGS_MAX:
            _strings.clear()
        _strings[kept] = made
    return made


def _add_attributes(parts, tag, attributes):
    # BoundedAttributes take a lock for each key; the plain dict in it is as good once the span has ended.
    plain = getattr(attributes, "_dict", attributes)
    for key, value in list(plain.items()):
        parts.append(tag)
        parts.append(key_value(key, value))


def attributes_of(thing):
    found = getattr(thing, "_attributes", None)
    return thing.attributes if found is None else found


def encode_resource(attributes, replaced):
    """A Resource. What `replaced` says goes before."""
    parts = []
    merged = dict(attributes)
    merged.update(replaced)
    _add_attributes(parts, b"\x0a", merged)
    return b"".join(parts)


def encode_scope(scope):
    """The payload of a scope's entry in the dictionary."""
    schema = text_bytes(getattr(scope, "schema_url", None) or "")
    parts = [struct.pack("<II", len(schema), 0), schema]
    parts.append(_text(b"\x0a", scope.name))
    parts.append(_text(b"\x12", scope.version))
    attributes = getattr(scope, "attributes", None)
    if attributes:
        _add_attributes(parts, b"\x1a", attributes)
    return b"".join(parts)


def flags_of(context, parent):
    flags = _HAS_IS_REMOTE | (int(context.trace_flags) & 0xFF)
    return flags | _IS_REMOTE if parent is not None and parent.is_remote else flags


def _dropped(thing):
    """SDKs before 1.21 tell it of the attributes only."""
    found = getattr(thing, "dropped_attributes", None)
    return getattr(thing.attributes, "dropped", 0) if found is None else found


def _add_events(parts, span):
    for event in span.events:
        inner = [_fixed64.pack(0x09, time_of(event.timestamp)), _text(b"\x12", event.name)]
        if event.attributes:
            _add_attributes(inner, b"\x1a", attributes_of(event))
        dropped = _dropped(event)
        if dropped:
            inner.append(b"\x20" + varint(dropped))
        parts.append(_sized(b"\x5a", b"".join(inner)))
    if span.dropped_events:
        parts.append(b"\x60" + varint(span.dropped_events))


def _add_links(parts, span):
    for link in span.links:
        context = link.context
        inner = [b"\x0a\x10", context.trace_id.to_bytes(16, "big"), b"\x12\x08", context.span_id.to_bytes(8, "big")]
        if context.trace_state:
            inner.append(_text(b"\x1a", context.trace_state.to_header()))
        if link.attributes:
            _add_attributes(inner, b"\x22", attributes_of(link))
        dropped = _dropped(link)
        if dropped:
            inner.append(b"\x28" + varint(dropped))
        remote = _IS_REMOTE if context.is_remote else 0
        inner.append(struct.pack("<BI", 0x35, _HAS_IS_REMOTE | remote | (int(context.trace_flags) & 0xFF)))
        parts.append(_sized(b"\x6a", b"".join(inner)))
    if span.dropped_links:
        parts.append(b"\x70" + varint(span.dropped_links))


def encode_span(span):
    """A Span of OTLP from a ReadableSpan of the SDK."""
    context = span.context
    parent = span.parent
    parts = [b"\x0a\x10", context.trace_id.to_bytes(16, "big"), b"\x12\x08", context.span_id.to_bytes(8, "big")]
    if context.trace_state:
        parts.append(_text(b"\x1a", context.trace_state.to_header()))
    if parent is not None and parent.span_id:
        parts.append(b"\x22\x08")
        parts.append(parent.span_id.to_bytes(8, "big"))
    parts.append(_text(b"\x2a", span.name))
    parts.append(b"\x30" + _SMALL[span.kind.value + 1])
    parts.append(_fixed64_pair.pack(0x39, time_of(span.start_time), 0x41, time_of(span.end_time)))
    attributes = attributes_of(span)
    if attributes:
        _add_attributes(parts, b"\x4a", attributes)
    dropped = span.dropped_attributes
    if dropped:
        parts.append(b"\x50" + varint(dropped))
    if span.events or span.dropped_events:
        _add_events(parts, span)
    if span.links or span.dropped_links:
        _add_links(parts, span)
    status = span.status
    if status.status_code.value or status.description:
        inner = _text(b"\x12", status.description) + b"\x18" + _SMALL[status.status_code.value]
        parts.append(_sized(b"\x7a", inner))
    parts.append(_fixed32.pack(0x0185, flags_of(context, parent)))
    return b"".join(parts)
