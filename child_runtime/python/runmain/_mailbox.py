"""The writing half of a mailbox (child_runtime/mailbox.h): taking a lane, records, dictionary entries, open spans.

Invariants: a lane is written by one process, under one lock (_sink); nothing waits; what finds no room is counted in
the lane. Non-goals: what is in a record (_encode), which lane a span goes to (_sink).

How a record gets in: its bytes are copied into the mapped ring, then the lane's position is stored. On x86-64 no
store is seen before an earlier one, and a store into a memoryview of 8-byte words is one instruction, so the lane is
BY_POSITION: 0.3 us a record, against some 10 us for a checksum that Python computes. Other machines may show stores
in another order: there the record carries its checksum (BY_CHECKSUM). The map makes pwrite(2) needless there, too.

A lane is taken under a record lock of fcntl(2) on its state, since Python has no compare-and-swap. Writers in C take
lanes without that lock and from the first one up, so Python goes from the last one down: they meet only when all
lanes are in use.
"""
import fcntl
import mmap
import os
import struct

from . import _environment

MAGIC = 0x584F424C49414D52
MAJOR = 1
HEADER = struct.Struct("<QHHIIIQIIQQ64s")
FD_MIN = 100  # leaves the low numbers to the program
LANES_MAX = 4096

RECORD_SPAN, RECORD_REQUEST = 2, 3
RECORD_PAD = 1
RECORD_MAX = 256 << 10
RECORD_HEAD = 16
ENTRY_RESOURCE, ENTRY_SCOPE = 1, 2
SCOPE_LOST = 0xFFFFFFFF
LOST_FULL, LOST_TOO_BIG, LOST_REENTRANT, LOST_NOT_SERVING, LOST_NO_MEMORY = range(5)
BY_POSITION, BY_CHECKSUM = 0, 1
NAME_MAX = 64

_TAKEN, _CLOSED = 1, 2
_SLOT_SIZE = 128
_SLOT_STEP = 64
_DICTIONARY = 4096
# Words of 8 bytes in the lane's head.
_WRITE, _STARTED, _ENDED, _NOT_SAMPLED, _CUT, _DICTIONARY_USED, _DICTIONARY_FULL, _OPEN_FULL = range(8)
_LOST = 8
_PID_STARTED = 18
_READ = 24
# Words of 4 bytes there.
_STATE, _MODE, _PID, _TID = 32, 33, 34, 35
_ROUND = 38
# In the file's head.
_ASLEEP_AT, _NO_LANE_AT, _PROCESSES_AT = 120, 184, 192

_record = struct.Struct("=IHHII")
_entry = struct.Struct("=IHH")
_slot = struct.Struct("=Q16s8s8sIIII64s")
_line2 = struct.Struct("=IIIIQ")  # state, mode, pid, tid, start

HAS_ORDERED_STORES = os.uname().machine in ("x86_64", "AMD64", "amd64")


def _round_up(size):
    return (size + 4095) & ~4095


class Mailbox:
    """What this process has got with its role. Owns both fds."""

    def __init__(self, memfd, wake):
        self.memfd = self._keep(memfd)
        self.wake = self._keep(wake)
        size = os.fstat(self.memfd).st_size
        self._read_header(os.pread(self.memfd, HEADER.size, 0), size)
        self._map = mmap.mmap(self.memfd, mmap.PAGESIZE, mmap.MAP_SHARED)
        self._words = memoryview(self._map).cast("I")
        self.pid_started = _environment.process_start()
        self.number = self._take_number()

    @staticmethod
    def _keep(fd):
        kept = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FD_MIN)
        os.close(fd)
        return kept

    def _read_header(self, raw, size):
        if len(raw) < HEADER.size:
            raise ValueError("no mailbox")
        magic, major, _, self.header_size, self.lanes, self.shared = HEADER.unpack(raw)[:6]
        self.stride, self.dictionary, self.slots, self.ring = HEADER.unpack(raw)[6:10]
        self.slots_at = _DICTIONARY + _round_up(self.dictionary)
        self.ring_at = self.slots_at + _round_up(self.slots * _SLOT_SIZE)
        fits = (
            magic == MAGIC
            and major == MAJOR
            and 0 < self.lanes <= LANES_MAX
            and self.shared <= self.lanes
            and self.ring >= 4096
            and self.ring & (self.ring - 1) == 0
            and self.header_size % 4096 == 0
            and self.stride % 4096 == 0
            and self.stride >= self.ring_at + self.ring
            and self.header_size + self.lanes * self.stride <= size
        )
        if not fits:
            raise ValueError("a mailbox that this version does not know")

    def _take_number(self):
        """How many processes had taken the mailbox up before this one."""
        locked = self._lock(_PROCESSES_AT, fcntl.LOCK_EX)
        at = _PROCESSES_AT // 4
        number = self._words[at]
        self._words[at] = (number + 1) & 0xFFFFFFFF
        if locked:
            self._lock(_PROCESSES_AT, fcntl.LOCK_UN)
        return number

    def _lock(self, at, how):
        try:
            fcntl.lockf(self.memfd, how, 1, at)
            return True
        except OSError:
            return False

    def close_lanes_of_before(self):
        """Those of this very process before it executed another program: else each of its programs would keep some."""
        for index in range(self.lanes - self.shared):
            at = self.header_size + index * self.stride + 4 * _STATE
            state, _, pid, _, started = _line2.unpack(os.pread(self.memfd, _line2.size, at))
            if (state, pid, started) == (_TAKEN, os.getpid(), self.pid_started):
                os.pwrite(self.memfd, struct.pack("=I", _CLOSED), at)

    def take_lane(self, resource):
        """A lane with this resource, or None."""
        for index in range(self.lanes - self.shared - 1, -1, -1):
            offset = self.header_size + index * self.stride
            at = offset + 4 * _STATE
            if os.pread(self.memfd, 4, at) != b"\0\0\0\0" or not self._lock(at, fcntl.LOCK_EX | fcntl.LOCK_NB):
                continue
            free = os.pread(self.memfd, 4, at) == b"\0\0\0\0"
            if free:
                # With the pid: should we die before the rest is there, the reader knows whose the lane was.
                os.pwrite(self.memfd, struct.pack("=III", _TAKEN, BY_CHECKSUM, os.getpid()), at)
            self._lock(at, fcntl.LOCK_UN)
            if free:
                return Lane(self, offset, resource)
        return None

    def count_no_lane(self):
        words = memoryview(self._map).cast("Q")
        words[_NO_LANE_AT // 8] += 1

    def wake_reader(self):
        """To be called after a lock was released since the last record: that is the full barrier which is needed
        between the record and this look."""
        if self._words[_ASLEEP_AT // 4] == 0:
            return
        self._words[_ASLEEP_AT // 4] = 0
        try:
            # A program may have closed all that it does not know: another file is not ours to write to.
            if os.readlink("/proc/self/fd/%d" % self.wake) == "anon_inode:[eventfd]":
                os.write(self.wake, b"\1\0\0\0\0\0\0\0" if struct.pack("=H", 1) == b"\1\0" else b"\0\0\0\0\0\0\0\1")
        except OSError:
            pass  # the reader looks by itself after a while

    def forget(self):
        """Closes what a forked child has inherited."""
        for fd in (self.memfd, self.wake):
            try:
                os.close(fd)
            except OSError:
                pass


class Lane:
    """A ring in the hands of this process. Not safe for threads by itself."""

    def __init__(self, mailbox, offset, resource):
        # mmap(2) wants a multiple of the page size, which may be larger than 4096.
        before = offset % mmap.ALLOCATIONGRANULARITY
        self._map = mmap.mmap(mailbox.memfd, mailbox.stride + before, mmap.MAP_SHARED, offset=offset - before)
        whole = memoryview(self._map)[before:]
        head = whole[:4096]
        self.words = head.cast("Q")
        ints = head.cast("I")
        self._ring = whole[mailbox.ring_at : mailbox.ring_at + mailbox.ring]
        self._ring_size = mailbox.ring
        self._mask = mailbox.ring - 1
        self._dictionary = whole[_DICTIONARY : _DICTIONARY + mailbox.dictionary]
        self._slots = whole[mailbox.slots_at : mailbox.slots_at + mailbox.slots * _SLOT_SIZE]
        self._slot_states = self._slots.cast("Q")
        self.mode = BY_POSITION if HAS_ORDERED_STORES else BY_CHECKSUM
        rounds = ints[_ROUND]
        if rounds > 0:
            for slot in range(mailbox.slots):
                self._slot_states[slot * (_SLOT_SIZE // 8)] = 0
        self._free = list(range(mailbox.slots - 1, -1, -1))
        self._sequence = (rounds + 1) << 48
        # Where the lane goes on; BY_CHECKSUM leaves `write` alone, so its reader says how far it came.
        self._write = max(self.words[_WRITE], self.words[_READ])
        self._read = self.words[_READ]
        self.entries = 0
        self._used = 0
        self.words[_DICTIONARY_USED] = 0
        ints[_MODE] = self.mode
        ints[_ROUND] = rounds + 1
        ints[_PID] = os.getpid()
        ints[_TID] = os.getpid()
        if self.add_entry(ENTRY_RESOURCE, resource) == SCOPE_LOST:
            self.add_entry(ENTRY_RESOURCE, b"")
        self.words[_PID_STARTED] = mailbox.pid_started  # last: it says that the rest is there

    def add_entry(self, kind, payload):
        size = len(payload)
        whole = (8 + size + 7) & ~7
        if whole > len(self._dictionary) - self._used:
            self.words[_DICTIONARY_FULL] += 1
            return SCOPE_LOST
        self._dictionary[self._used : self._used + 8 + size] = _entry.pack(size, kind, 0) + payload
        self._used += whole
        self.words[_DICTIONARY_USED] = self._used
        self.entries += 1
        return self.entries - 1

    def write_span(self, scope, span):
        """A span that has ended. It is counted, written or not."""
        self._put(RECORD_SPAN, scope, span, True)
        self.words[_ENDED] += 1

    def write_request(self, signal, request):
        """An Export...ServiceRequest. False: it found no room."""
        return self._put(RECORD_REQUEST, signal, request, False)

    def _put(self, kind, scope, payload, is_span):
        length = len(payload) + 8
        size = (RECORD_HEAD + length + 15) & ~15
        if size > RECORD_MAX or size > self._ring_size:
            return self._lose(LOST_TOO_BIG, is_span)
        offset = self._write & self._mask
        tail = self._ring_size - offset
        needed = size if size <= tail else tail + size
        if self._write + needed - self._read > self._ring_size:
            self._read = self.words[_READ]
            if self._write + needed - self._read > self._ring_size:
                return self._lose(LOST_FULL, is_span)
        if size > tail:
            self._pad(offset, tail)
            offset = 0
        body = scope.to_bytes(8, "little") + payload
        checksum = 0 if self.mode == BY_POSITION else _checksum(self._write, length, kind, body)
        self._ring[offset : offset + RECORD_HEAD + length] = _record.pack(length, kind, 0, checksum, 0) + body
        self._write += size
        if self.mode == BY_POSITION:
            self.words[_WRITE] = self._write
        return True

    def _pad(self, offset, tail):
        length = tail - RECORD_HEAD
        checksum = 0 if self.mode == BY_POSITION else _checksum(self._write, length, RECORD_PAD, b"")
        self._ring[offset : offset + RECORD_HEAD] = _record.pack(length, RECORD_PAD, 0, checksum, 0)
        self._write += tail

    def _lose(self, why, is_span):
        if is_span:
            self.words[_LOST + why] += 1
        return False

    def count_started(self, spans=1):
        self.words[_STARTED] += spans

    def count_not_sampled(self):
        self.words[_NOT_SAMPLED] += 1

    def count_lost(self, why, spans=1):
        """Spans that ended and were not written."""
        self.words[_LOST + why] += spans
        self.words[_ENDED] += spans

    def open_span(self, start, trace_id, span_id, parent, scope, flags, kind, name):
        """The slot of a span that has begun, or -1. Ids and name are bytes."""
        if not self._free:
            self.words[_OPEN_FULL] += 1
            return -1
        name = name[:NAME_MAX]
        content = _slot.pack(start, trace_id, span_id, parent, scope, flags, kind, len(name), name)
        slot = self._free.pop()  # last: nothing from here on raises
        at = slot * _SLOT_SIZE
        self._slots[at + 8 : at + _SLOT_SIZE] = content
        self._sequence += _SLOT_STEP
        self._slot_states[slot * (_SLOT_SIZE // 8)] = self._sequence
        return slot

    def close_span(self, slot):
        self._slot_states[slot * (_SLOT_SIZE // 8)] = 0
        self._free.append(slot)


def _checksum(position, length, kind, body):
    from ._crc32c import crc32c

    return crc32c(struct.pack("<QIHH", position, length, kind, 0) + body)
