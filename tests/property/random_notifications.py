# SPDX-License-Identifier: MIT
"""JSON texts from a seed: every key that matters with every kind of value, in every way to write it, and broken ones."""
import random
import re

from decoder import text
from notifications import HASHES


class RandomNotifications:
    """Random notifications from a seed."""

    KEYS = ("event_timestamp", "timestamp", "hostname", "computer_name", "highlights", *HASHES, "ioc_type", "ioc_value",
            "comms_ip", "interface_ip", "unique_id", "parent_unique_id", "process_id", "process_guid", "segment_id",
            "parent_guid", "parent_segment_id", "sensor_id", "type", "cb_server", "cb_version", "link_process",
            "ioc_query_index", "watchlist_name", "other", "")
    ROUTING_KEYS = ("watchlist.hit.process", "feed.24.ingress.hit.process", "feed.synchronized", "feed.query.hit.process",
                    "alert.watchlist.hit.query.process", "binaryinfo.observed", "feed.7.query.hit.binary")
    NUMBERS = ("0", "-0", "1", "-1", "7", "2147483647", "2147483648", "-2147483648", "-2147483649", "-1062731519",
               "18446744073709551616", "1.0", "1e3", "2.50", "1E+2", "0.1e-7", "-0.0", "1447697629.071",
               "123456789012345678901234567890.5")
    PIECES = ("a", "Z", "\"", "\\", "/", "\b\f\n\r\t", "\0", "\x1f", "\x7f", "é", "ß", "ı", "日本", "😀", "\u2028", "<&>",
              "%41+%zz%", "C:\\Windows\\system32\\cmd.exe", "q=", " ")
    GUID = "00000009-0000-0404-01d1-e1d90ef4db69"

    def __init__(self, seed):
        self.random = random.Random(seed)

    def chance(self, probability):
        return self.random.random() < probability

    def notification(self):
        source = self.object(depth=0)
        if self.chance(0.04):
            at = self.random.randrange(len(source) + 1)
            source = self.random.choice((
                source[:at], source[:at] + source[at + 1:], source + b"}", b"[" + source + b"]", b"null", b"\"text\"", b"1",
                source.replace(b":", b"", 1), b"\xef\xbb\xbf" + source))
        return source.replace(b"\n", b" ") or b"0"

    def object(self, depth):
        keys = self.random.sample(self.KEYS, self.random.randrange(1, len(self.KEYS) if self.chance(0.3) else 8))
        if self.chance(0.1):
            keys.append(self.random.choice(keys))
        members = [self.string(key) + self.space() + b":" + self.space() + self.value_of(key, depth) for key in keys]
        if depth == 0 and self.chance(0.5):
            docs = [self.object(1) if self.chance(0.9) else self.value(1)
                    for _ in range(self.random.choice((0, 1, 1, 2, 3)))]
            members.append(b"\"docs\":" + (self.array(docs) if self.chance(0.9) else self.value(1)))
        self.random.shuffle(members)
        return b"{" + self.space() + (self.space() + b"," + self.space()).join(members) + self.space() + b"}"

    def array(self, items):
        return b"[" + self.space() + (b"," + self.space()).join(items) + b"]"

    def space(self):
        return self.random.choice((b"", b"", b"", b" ", b"\t\r "))

    def value_of(self, key, depth):
        """Mostly what that key is meant for."""
        if self.chance(0.2):
            return self.value(depth)
        if key in HASHES:
            length = self.random.choice((32, 32, 32, 31, 33))
            return self.string("".join(self.random.choices("0123456789abcdefABCDEFz", k=length)))
        if key in ("unique_id", "parent_unique_id", "process_id", "process_guid", "parent_guid"):
            return self.string(self.guid())
        if key in ("comms_ip", "interface_ip", "sensor_id", "segment_id", "parent_segment_id"):
            return self.random.choice(self.NUMBERS).encode()
        if key == "ioc_type":
            return self.random.choice((b"\"query\"", self.string("query"), b"{\"md5\":" + self.value(1) + b"}",
                                       b"{\"md5\":\"0a\\u0062c\xc3\xa9\",\"x\":[1.0]}", b"\"md5\"", b"{}"))
        if key == "ioc_value":
            return self.string(self.query())
        return self.value(depth)

    def guid(self):
        guid = self.GUID[:self.random.choice((36, 36, 36, 36, 35, 8, 0))]
        segment = self.random.choice(("", "", "-00000001", "-00000000000a", "-0000001", "-0000001G", "-FFFFFFFF", "-", "-1",
                                      "-fFfFfFfFfFfF", "+00000001", "x00000002", "--0000001", "-0x000001", "- 0000001",
                                      "-000000001"))
        return guid + segment

    def query(self):
        if self.chance(0.1):
            return self.random.choice(("", "[]", "{", "null", "{\"index_type\":\"events\"}"))
        search = "&".join(self.random.choice((
            "q=process_name%3Anotepad.exe", "cb.urlver=1", "q=", "q", "%71=percent", "q=a+b%20c%2Bd", "q=100%", "q=%4",
            "q=%zz%41", "q=%ff%E2%82", "q=a;q=b", "Q=no", "", "=", "q=a=b", "+q=1", "q=é%C3%A9", "cb.q.x=1", "q=%00"))
            for _ in range(self.random.randrange(4)))
        search = text(self.string(search) if self.chance(0.8) else b"1")
        index = self.random.choice(("\"events\"", "\"modules\"", "\"\\u0065\"", "null"))
        return f"{{\"index_type\": {index}, \"search_query\": {search}}}"

    def value(self, depth):
        pick = self.random.random()
        if pick < 0.35:
            return self.string("".join(self.random.choices(self.PIECES, k=self.random.randrange(6))))
        if pick < 0.6:
            return self.random.choice(self.NUMBERS).encode()
        if pick < 0.8 or depth > 3:
            return self.random.choice((b"true", b"false", b"null", b"\"\"", b"[]", b"{}"))
        if pick < 0.9:
            return self.array([self.value(depth + 1) for _ in range(self.random.randrange(4))])
        return self.object(depth + 1)

    def string(self, value):
        """One of the many ways to write it, now and then with what no string should hold."""
        out = bytearray(b"\"")
        shorts = {"\"": b"\\\"", "\\": b"\\\\", "\b": b"\\b", "\f": b"\\f", "\n": b"\\n", "\r": b"\\r", "\t": b"\\t"}
        escapes = self.random.choice((0.0, 0.0, 0.1, 1.0))
        for char in value:
            if char in shorts and not self.chance(0.2):
                out += shorts[char]
            elif char < " " or char in shorts or self.chance(escapes):
                for unit in re.findall("....", char.encode("utf-16-be").hex()):
                    out += f"\\u{unit.upper() if self.chance(0.5) else unit}".encode()
            elif char == "/" and self.chance(0.5):
                out += b"\\/"
            else:
                out += char.encode()
        if self.chance(0.03):
            at = len(out) if self.chance(0.7) else 1
            out[at:at] = self.random.choice((
                b"\\ud800", b"\\uDFFF", b"\\ud83d\\ud83d\\ude00", b"\\ude00\\ud83d", b"\\ud83dx", b"\xff\xfe", b"\xed\xa0\x80",
                b"\xf0\x9f\x98", b"\xc0\x80", b"\xe2\x82", b"\x80"))
        return bytes(out + b"\"")
