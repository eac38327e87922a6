"""Stands in for the module that github.com/w3c/baggage's test_baggage.py tests: ours, through the C ABI.

RUNMAIN_CHILD_LIBRARY names libchild_runtime.so. docs/propagation.md says how the suite is run.
"""

import ctypes
import os


class Text(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_size_t)]

    def value(self):
        return ctypes.string_at(self.data, self.size) if self.size else b""


class Member(ctypes.Structure):
    _fields_ = [("key", Text), ("value", Text), ("properties", Text)]


class Property(ctypes.Structure):
    _fields_ = [("key", Text), ("value", Text)]


class Raw(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint16), ("members", ctypes.c_uint16), ("text", ctypes.c_char * 8192)]


library = ctypes.CDLL(os.environ["RUNMAIN_CHILD_LIBRARY"])
library.runmain_baggage_set.argtypes = [ctypes.POINTER(Raw), Text, Text, Text]
library.runmain_baggage_next_property.argtypes = [Text, ctypes.POINTER(ctypes.c_size_t), ctypes.POINTER(Property)]
for convert in (library.runmain_percent_decode, library.runmain_percent_encode):
    convert.argtypes = [Text, ctypes.c_char_p, ctypes.c_size_t]
    convert.restype = ctypes.c_size_t
library.runmain_baggage_parse.restype = ctypes.c_size_t


def text(value):
    """The caller keeps `value` while this is used."""
    return Text(ctypes.cast(ctypes.c_char_p(value), ctypes.c_void_p), len(value))


def converted(by, value):
    room = ctypes.create_string_buffer(3 * len(value) + 1)
    size = by(text(value), room, len(room))
    return room.raw[:size]


class BaggageEntryProperty:
    def __init__(self, key, value=None):
        self.key = key
        self.value = value

    def to_string(self):
        if self.value is None:
            return self.key
        return self.key + "=" + converted(library.runmain_percent_encode, self.value.encode()).decode()


def properties_of(raw):
    out = []
    at = ctypes.c_size_t(0)
    found = Property()
    while library.runmain_baggage_next_property(raw, ctypes.byref(at), ctypes.byref(found)):
        value = None
        if found.value.data is not None:
            value = converted(library.runmain_percent_decode, found.value.value()).decode()
        out.append(BaggageEntryProperty(found.key.value().decode(), value))
    return out


class BaggageEntry:
    def __init__(self, key, value, properties=None):
        self.key = key
        self.value = value
        self.properties = properties or []

    @classmethod
    def from_string(cls, value):
        (entry,) = Baggage.from_string(value).entries
        return entry

    def to_string(self):
        return Baggage([self]).to_string()


class Baggage:
    def __init__(self, entries=None):
        self.entries = entries or []

    @classmethod
    def from_string(cls, value):
        encoded = value.encode()
        header = text(encoded)
        raw = Raw()
        library.runmain_baggage_parse(ctypes.byref(header), ctypes.c_size_t(1), ctypes.byref(raw))
        out = cls()
        at = ctypes.c_size_t(0)
        member = Member()
        while library.runmain_baggage_next(ctypes.byref(raw), ctypes.byref(at), ctypes.byref(member)):
            decoded = converted(library.runmain_percent_decode, member.value.value()).decode()
            out.entries.append(BaggageEntry(member.key.value().decode(), decoded, properties_of(member.properties)))
        return out

    def to_string(self):
        raw = Raw()
        for entry in self.entries:
            parts = [
                entry.key.encode(),
                entry.value.encode(),
                ";".join(p.to_string() for p in entry.properties).encode(),
            ]
            if library.runmain_baggage_set(ctypes.byref(raw), *[text(part) for part in parts]) != 0:
                raise ValueError(entry.key)
        return ctypes.string_at(ctypes.addressof(raw) + Raw.text.offset, raw.size).decode()
