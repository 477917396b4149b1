# SPDX-License-Identifier: MIT
"""Random records from a seed: every type, every field absent, empty, usual or extreme, and what no sensor should send."""
import random
import struct

import wire
from schema import F

UNIX_EPOCH = 116444736000000000  # as a FILETIME
MEMBERS = ("process", "modload", "filemod", "networkv2", "network", "regmod", "childproc", "crossproc", "emet", "scriptexe",
           "fbscriptexe", "netconnBlockedv2", "netconnBlocked", "tamperAlert", "blocked", "module", "vtwrite", "vtload",
           "processMeta")

WELL_FORMED = [s.encode() for s in (
    "a", "Z", "C:\\Windows\\System32\\svchost.exe", "/usr/bin/env", "\"quoted\"", "\\", "\\\\host\\share", "\"", "/",
    "</script>", "tab\tline\r\nfeed", "\0", "a\0b", "\x01\x1f", "\x7f", "\x08\x0c", "é", "ß", "İ", "日本語",
    "\u0080\u07ff\u0800\uffff",
    "\u2028\u2029", "\ufeff", "\ufffd", "😀", "\U00010000\U0010ffff", "{\"a\":[1]}", "%s%n", " ")]
ILL_FORMED = [bytes.fromhex(s) for s in (
    "ff", "fffe", "fe", "80", "bf", "8080", "c0", "c080", "c1bf", "c3", "c328", "e0", "e08080", "e09fbf", "e282", "e28228",
    "eda080", "edbfbf", "eda0bdedb880", "efbf", "f0", "f09f", "f09f98", "f09f9841", "f0808080", "f08fbfbf", "f4908080",
    "f48fbf", "f5808080", "f8888080", "fc8080808080")]
# Lengths where code that takes several bytes at once changes its way.
EDGES = [base + delta for base in (8, 16, 32, 48, 64, 128, 256, 1023, 2046, 3069, 4096) for delta in (-2, -1, 0, 1, 2)]


class Records:
    def __init__(self, file, seed):
        self.random = random.Random(seed)
        self.messages = {message.name: message for message in file.message_type}
        self.numbers = {field.name: field.number for field in self.messages["CbEventMsg"].field}
        self.enums = {f".{message.name}.{enum.name}": [value.number for value in enum.value]
                      for message in file.message_type for enum in message.enum_type}
        self.guids = (0,)
        self.pad = 0

    def chance(self, probability):
        return self.random.random() < probability

    def record(self):
        pick = self.random.random()
        if pick < 0.03:
            return self.broken()
        if pick < 0.07:
            members = ["stats"] + self.random.sample(MEMBERS, self.random.choice((0, 0, 1)))
        elif pick < 0.10:
            members = []
        else:
            members = self.random.sample(MEMBERS, self.random.choices((1, 2, 3), (85, 10, 5))[0])
        return self.event(members)

    def plain(self):
        """A record that begins like those of real bundles, by which a bundle is recognised."""
        return wire.field(1, wire.LEN, wire.field(1, wire.VARINT, wire.varint(4)))

    # Records.

    def event(self, members, header=True):
        self.pad = self.random.choice((1, 2, 4, 9)) if self.chance(0.1) else 0
        self.guids = [0] + [self.integer("guid", 64, True) for _ in range(self.random.randrange(4))]
        parts = [("header", "CbHeaderMsg")] if header else []
        parts += [("strings", "CbStringMsg")] * self.random.choice((0, 0, 1, 2, 5))
        parts += [(name, self.type_of(name)) for name in members]
        if self.chance(0.6):
            parts.append(("env", "CbEnvironmentMsg"))
        if self.chance(0.05):
            parts.append(("internalUse", "InternalUse"))
        if self.chance(0.06):  # a sub-message in pieces is merged
            parts.append(self.random.choice([part for part in parts if part[0] != "strings"] or [("env", "CbEnvironmentMsg")]))
        out = [self.tagged(self.numbers[name], wire.LEN, self.message(type_name)) for name, type_name in parts]
        return self.finish("CbEventMsg", out)

    def type_of(self, name):
        return next(field.type_name[1:] for field in self.messages["CbEventMsg"].field if field.name == name)

    def broken(self):
        members = self.random.sample(MEMBERS + ("stats",), 1)
        record = bytearray(self.event(members))
        at = self.random.randrange(len(record))
        way = self.random.randrange(9)
        if way == 0:
            return bytes(record[:at])
        if way == 1:
            return self.event(members, header=False)
        if way == 2:
            header = b"".join(wire.field(*field) for field in wire.fields(self.message("CbHeaderMsg")) if field[0] != 1)
            return self.event(members, header=False) + wire.field(1, wire.LEN, header)
        if way == 3:
            record[at] ^= 1 << self.random.randrange(8)
        elif way == 4:
            record[at:at] = self.random.randbytes(self.random.randrange(1, 12))
        elif way == 5:
            del record[at:at + self.random.randrange(1, 12)]
        elif way == 6:
            return self.random.randbytes(self.random.randrange(60))
        elif way == 7:
            return self.in_pieces(bytes(record))
        else:
            record[at] = self.random.randrange(256)
        return bytes(record)

    def in_pieces(self, record):
        """A record one of whose members comes in two pieces, cut anywhere."""
        fields = list(wire.fields(record))
        at = self.random.randrange(len(fields))
        number, wire_type, contents = fields[at]
        cut = self.random.randrange(len(contents) + 1)
        fields[at:at + 1] = [(number, wire_type, contents[:cut]), (number, wire_type, contents[cut:])]
        return b"".join(wire.field(*field) for field in fields)

    # Messages.

    def message(self, name):
        if name == "CbIpAddr" and self.chance(0.7):
            return self.ipv6()
        likely = 0.5 if name == "CbCrossProcessMsg" else self.random.choice((0.0, 0.3, 0.7, 0.9, 1.0))
        out = []
        for field in self.messages[name].field:
            times = int(self.chance(likely) or field.label == F.LABEL_REQUIRED)
            if times and (field.label == F.LABEL_REPEATED or self.chance(0.04)):
                times = self.random.choice((1, 2, 3))
            out += [self.occurrence(field) for _ in range(times)]
        return self.finish(name, out)

    def finish(self, name, out):
        """Puts a message's fields together, now and then out of order and among fields that nobody knows."""
        if self.chance(0.08):
            out.insert(self.random.randrange(len(out) + 1), self.unknown_field(name))
        if self.chance(0.25):
            self.random.shuffle(out)
        return b"".join(out)

    def unknown_field(self, name):
        known = {field.number for field in self.messages[name].field}
        number = self.random.choice((15, 16, 99, 2047, 2048, 19000, 2**28, 2**29 - 1))
        number = number if number not in known else 1000
        wire_type = self.random.choice((wire.VARINT, wire.FIXED64, wire.LEN, wire.FIXED32))
        if wire_type == wire.VARINT:
            return self.tagged(number, wire_type, wire.varint(self.random.getrandbits(64)))
        return self.tagged(number, wire_type, self.random.randbytes(wire.WIDTHS.get(wire_type, self.random.randrange(40))))

    def tagged(self, number, wire_type, contents):
        return wire.field(number, wire_type, contents, self.pad if self.chance(0.5) else 0)

    def occurrence(self, field):
        if field.type == F.TYPE_MESSAGE:
            return self.tagged(field.number, wire.LEN, self.message(field.type_name[1:]))
        if field.type == F.TYPE_BYTES:
            return self.tagged(field.number, wire.LEN, self.contents(field.name))
        value = self.scalar(field)
        longer = len(wire.varint(value)) + (self.pad if self.chance(0.5) else 0)
        return self.tagged(field.number, wire.VARINT, wire.varint(value, min(longer, wire.VALUE_MAX)))

    def ipv6(self):
        """An address with runs of zeros, or one that has an IPv4 address within."""
        if self.chance(0.3):
            packed = bytes(10) + self.random.choice((b"\xff\xff", b"\0\0", b"\xff\xfe")) + self.random.randbytes(4)
        else:
            packed = b"".join(struct.pack(">H", self.random.choice((0, 0, 0, 1, 0xa0, 0xfff, self.random.getrandbits(16))))
                              for _ in range(8))
        high, low = struct.unpack("<QQ", packed)
        out = [wire.field(number, wire.VARINT, wire.varint(value)) for number, value in ((1, 1), (3, low), (4, high))]
        if self.chance(0.2):
            out.append(wire.field(5, wire.LEN, self.text()))
        return self.finish("CbIpAddr", out)

    # Values.

    def scalar(self, field):
        if field.type == F.TYPE_BOOL:
            return self.random.choice((0, 1, 1, 1, 2, 256, 2**63))
        if field.type == F.TYPE_ENUM:
            named = self.random.choice(self.enums[field.type_name])
            return named if self.chance(0.85) else self.random.choice((0, -1, 3, 7, 99, -2**31, 2**31 - 1, 2**32 + named))
        return self.integer(field.name, 32 if field.type in (F.TYPE_INT32, F.TYPE_UINT32) else 64,
                            field.type in (F.TYPE_INT32, F.TYPE_INT64))

    def integer(self, name, bits, signed):
        pick = self.random.random()
        if name.endswith("guid") and self.chance(0.7) and name in ("guid", "filepath_string_guid"):
            return self.random.choice(self.guids)
        if bits == 64 and pick < 0.4 and "guid" not in name:
            return self.filetime()
        if pick < 0.5:
            return self.random.choice((0, 0, 1, 2, 9, 10, 99, 100, 255, 256, 65535, 65536, 99999999, 100000000,
                                       2**(bits - 1) - 1, 2**(bits - 1), 2**bits - 1, 2**bits - 2))
        if pick < 0.55:
            return self.random.getrandbits(64)  # more than fits into 32 bits: the low ones count
        value = self.random.getrandbits(self.random.randrange(1, bits + 1))
        return -value if signed and self.chance(0.3) else value

    def filetime(self):
        return self.random.choice((
            self.random.randrange(130000000000000000, 134000000000000000),
            UNIX_EPOCH + self.random.choice((-10**7, -9999999, -10001, -10000, -9999, -1, 0, 1, 9999, 10000, 9999999, 10**7)),
            self.random.randrange(UNIX_EPOCH), self.random.choice((1, 9999, 10000, 10**7 - 1, 10**7, -1, -10**7)),
            -self.random.getrandbits(63), UNIX_EPOCH + 10**7 * self.random.randrange(-10, 10)))

    def contents(self, name):
        lower = name.lower()
        if ("md5" in lower or "sha256" in lower or "hash" in lower) and self.chance(0.8):
            length = 16 if "md5" in lower else 32
            if self.chance(0.2):
                length = self.random.choice((0, 1, 15, 17, 31, 33, 40, 64, 200))
            return self.random.choice((self.random.randbytes(length), self.random.randbytes(length).hex().encode()))
        if name in ("Icon", "ImageFileHeader"):
            return self.random.randbytes(self.random.choice((0, 1, 2, 3, 4, 5, 47, 48, 49, self.random.randrange(3000))))
        return self.text()

    def text(self):
        pick = self.random.random()
        if pick < 0.1:
            return b""
        if pick < 0.5:
            return self.random.choice(WELL_FORMED)
        if pick < 0.85:
            return b"".join(self.random.choice(ILL_FORMED if self.chance(0.2) else WELL_FORMED)
                            for _ in range(self.random.randrange(1, 6)))
        # One piece within much that is plain, at a place where the vectors end.
        piece = self.random.choice(self.random.choice((WELL_FORMED, ILL_FORMED)))
        length = self.random.choice(EDGES) if pick < 0.99 else self.random.randrange(5000, 30000)
        at = self.random.choice((0, length - len(piece), length - 1, self.random.randrange(length),
                                 self.random.choice(EDGES) % length))
        plain = self.random.choice((b"a", b"x", "é".encode(), "語".encode(), b"\\", b"\xf0\x9f\x98\x80"))
        filler = plain * (length // len(plain) + 1)
        return filler[:max(at, 0)] + piece + filler[:max(length - max(at, 0) - len(piece), 0)]
