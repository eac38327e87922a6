"""The mailbox's layout, against a reader of the tests' own; both modes, a ring that wraps, one that is full."""
import os
import struct
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

import mailbox_reader
from runmain import _crc32c, _mailbox


def open_mailbox(**layout):
    fd = mailbox_reader.make(**layout)
    read, write = os.pipe()
    return mailbox_reader.Reader(os.dup(fd)), _mailbox.Mailbox(fd, write)


class MailboxTest(unittest.TestCase):
    def test_checksum_is_the_one_of_rfc_3720(self):
        self.assertEqual(_crc32c.crc32c(b"123456789"), 0xE3069283)
        self.assertEqual(_crc32c.crc32c(bytes(32)), 0x8A9136AA)
        data = os.urandom(1001)
        self.assertEqual(_crc32c.crc32c(data), mailbox_reader.slow_crc32c(data))

    def records_come_out(self, mode):
        was, _mailbox.HAS_ORDERED_STORES = _mailbox.HAS_ORDERED_STORES, mode == _mailbox.BY_POSITION
        try:
            reader, mailbox = open_mailbox(ring=1 << 16 if mode == 0 else 1 << 14)
            lane = mailbox.take_lane(b"resource")
        finally:
            _mailbox.HAS_ORDERED_STORES = was
        index = reader.taken()[0]
        self.assertEqual(reader.line2(index)["mode"], mode)
        sent, got = 0, 0
        for turn in range(60 if mode == 0 else 30):  # several times around the ring of 64 KiB
            for n in range(1, 12):
                payload = bytes([sent % 251]) * (turn * n if mode == 0 else 40 * n)
                lane.write_span(3, payload)
                sent += 1
            for kind, payload in reader.records(index):
                self.assertEqual(kind, 2)
                self.assertEqual(struct.unpack("<II", payload[:8]), (3, 0))
                self.assertEqual(set(payload[8:]), {got % 251} if len(payload) > 8 else set())
                got += 1
        self.assertEqual(got, sent)
        self.assertEqual(reader.word(index, "ended"), sent)
        self.assertEqual(sum(reader.lost(index)), 0)

    def test_by_position(self):
        self.records_come_out(_mailbox.BY_POSITION)

    def test_by_checksum(self):
        self.records_come_out(_mailbox.BY_CHECKSUM)

    def test_full_and_too_big_are_counted(self):
        reader, mailbox = open_mailbox(ring=4096)
        lane = mailbox.take_lane(b"r")
        for _ in range(20):
            lane.write_span(0, bytes(500))
        index = reader.taken()[0]
        kept = len(reader.records(index))
        self.assertEqual(reader.lost(index)[0], 20 - kept)
        lane.write_span(0, bytes(300 << 10))
        self.assertEqual(reader.lost(index)[1], 1)
        lane.write_span(0, b"again")
        self.assertEqual(reader.records(index)[0][1][8:], b"again")
        self.assertEqual(reader.word(index, "ended"), 22)

    def test_lanes_go_to_one_writer_each_and_end(self):
        reader, mailbox = open_mailbox()
        lanes = [mailbox.take_lane(b"%d" % i) for i in range(6)]
        self.assertEqual([lane is not None for lane in lanes], [True] * 5 + [False])  # the last is a shared one
        self.assertEqual(len(reader.taken()), 5)
        self.assertEqual(sorted(reader.entries(i)[0][1] for i in reader.taken()), [b"0", b"1", b"2", b"3", b"4"])

    def test_many_processes_take_different_lanes(self):
        fd = mailbox_reader.make(lanes=21, shared=1)
        reader = mailbox_reader.Reader(os.dup(fd))
        children = []
        for _ in range(10):
            pid = os.fork()
            if pid == 0:
                mailbox = _mailbox.Mailbox(os.dup(fd), os.dup(fd))
                for _ in range(2):
                    lane = mailbox.take_lane(b"%d" % os.getpid())
                    lane.write_span(0, b"%d" % mailbox.number)
                os._exit(0)
            children.append(pid)
        for pid in children:
            os.waitpid(pid, 0)
        self.assertEqual(len(reader.taken()), 20)
        numbers = sorted(int(payload[8:]) for _, payload in reader.all_records())
        self.assertEqual(numbers, sorted(list(range(10)) * 2))

    def test_open_spans_have_slots(self):
        reader, mailbox = open_mailbox(slots=4)
        lane = mailbox.take_lane(b"r")
        slots = [lane.open_span(5, bytes(15) + b"\1", bytes(7) + bytes([i]), bytes(8), 1, 0x101, 2, ("näme" * 40).encode()) for i in range(5)]
        self.assertEqual(slots[4], -1)
        index = reader.taken()[0]
        found = reader.open_slots(index)
        self.assertEqual(len(found), 4)
        self.assertEqual(len({one["state"] for one in found}), 4)
        self.assertTrue(found[0]["name"].startswith("nämenäme"))
        self.assertEqual(reader.word(index, "open_full"), 1)
        lane.close_span(slots[0])
        self.assertEqual(len(reader.open_slots(index)), 3)

    def test_the_dictionary_is_bounded(self):
        reader, mailbox = open_mailbox(dictionary=4096)
        lane = mailbox.take_lane(b"r")
        got = [lane.add_entry(2, bytes(1000)) for _ in range(6)]
        self.assertEqual(got[:4], [1, 2, 3, 4])
        self.assertEqual(got[4:], [_mailbox.SCOPE_LOST] * 2)
        self.assertEqual(len(reader.entries(reader.taken()[0])), 5)

    def test_a_foreign_mailbox_is_refused(self):
        fd = os.memfd_create("x", 0)
        os.ftruncate(fd, 8192)
        with self.assertRaises(ValueError):
            _mailbox.Mailbox(fd, os.dup(fd))


if __name__ == "__main__":
    unittest.main()
