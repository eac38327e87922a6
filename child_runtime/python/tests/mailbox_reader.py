"""A reader of a mailbox for the tests, by child_runtime/mailbox.h; shares nothing with the writer."""
import os
import struct
import zlib  # noqa: F401

LANE = {"write": 0, "started": 8, "ended": 16, "not_sampled": 24, "dictionary_used": 40, "open_full": 56}


def make(lanes=6, shared=1, dictionary=4096, slots=16, ring=1 << 16, instance="11111111-2222-4333-8444-555555555555"):
    """A memfd with the layout that runmain makes, and an eventfd."""
    up = lambda n: (n + 4095) & ~4095  # noqa: E731
    ring_at = 4096 + up(dictionary) + up(slots * 128)
    stride = ring_at + up(ring)
    fd = os.memfd_create("mailbox", 0)
    os.ftruncate(fd, 4096 + lanes * stride)
    head = struct.pack("<QHHIIIQIIQQ", 0x584F424C49414D52, 1, 1, 4096, lanes, shared, stride, dictionary, slots, ring, 0)
    os.pwrite(fd, head + instance.encode().ljust(64, b"\0"), 0)
    return fd


class Reader:
    def __init__(self, fd):
        self.fd = fd
        (_, _, _, self.head, self.lanes, self.shared, self.stride, self.dictionary, self.slots, self.ring, _) = struct.unpack(
            "<QHHIIIQIIQQ", os.pread(fd, 56, 0)
        )
        up = lambda n: (n + 4095) & ~4095  # noqa: E731
        self.slots_at = 4096 + up(self.dictionary)
        self.ring_at = self.slots_at + up(self.slots * 128)
        self.positions = {}

    def at(self, lane, offset, size):
        return os.pread(self.fd, size, self.head + lane * self.stride + offset)

    def word(self, lane, name):
        return struct.unpack("<Q", self.at(lane, LANE[name], 8))[0]

    def lost(self, lane):
        return struct.unpack("<8Q", self.at(lane, 64, 64))

    def line2(self, lane):
        return dict(zip(("state", "mode", "pid", "tid", "started", "round"), struct.unpack("<4IQI", self.at(lane, 128, 28))))

    def taken(self):
        return [i for i in range(self.lanes) if self.line2(i)["state"] == 1]

    def in_use(self):
        """The closed ones, too."""
        return [i for i in range(self.lanes) if self.line2(i)["state"] != 0]

    def entries(self, lane):
        used = self.word(lane, "dictionary_used")
        data, at, out = self.at(lane, 4096, used), 0, []
        while at < used:
            size, kind, _ = struct.unpack("<IHH", data[at : at + 8])
            out.append((kind, data[at + 8 : at + 8 + size]))
            at += 8 + (size + 7) // 8 * 8
        return out

    def open_slots(self, lane):
        out = []
        for i in range(self.slots):
            raw = self.at(lane, self.slots_at + i * 128, 128)
            state, start, trace, span, parent, scope, flags, kind, size = struct.unpack("<QQ16s8s8sIIII", raw[:64])
            if state:
                out.append({"state": state, "start": start, "trace": trace, "span": span, "parent": parent, "scope": scope, "kind": kind, "name": raw[64 : 64 + size].decode()})
        return out

    def records(self, lane, commit=True):
        """(kind, payload) of all that is new, in either mode."""
        position = self.positions.get(lane, 0)
        by_position = self.line2(lane)["mode"] == 0
        write = self.word(lane, "write")
        out = []
        while not by_position or position < write:
            offset = position % self.ring
            raw = self.at(lane, self.ring_at + offset, 16)
            length, kind, version, checksum, _ = struct.unpack("<IHHII", raw)
            if length > self.ring:
                break  # BY_CHECKSUM: bytes of an older record
            payload = self.at(lane, self.ring_at + offset + 16, length) if kind > 1 else b""
            if not by_position and (kind == 0 or checksum != slow_crc32c(struct.pack("<QIHH", position, length, kind, version) + payload)):
                break
            if kind > 1:
                out.append((kind, payload))
            position += (16 + length + 15) // 16 * 16
        if commit:
            self.positions[lane] = position
            os.pwrite(self.fd, struct.pack("<Q", position), self.head + lane * self.stride + 192)
        return out

    def all_records(self):
        return [record for lane in self.taken() for record in self.records(lane)]


def slow_crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
