#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes seed inputs for every fuzz target: one small input for each thing that the code under test tells apart.

usage: tests/fuzz/seeds.py FOLDER        (makes FOLDER/TARGET/NAME)

The records come from proto/sensor_events.proto, so that a new member or field is seeded by being there.
"""
import gzip
import json
import re
import struct
import sys
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROTO = HERE.parent.parent / "proto" / "sensor_events.proto"

ODD_TEXTS = [
    b"c:\\windows\\system32\\cmd.exe", b"", b'"q" \\ / \x00 \x1f \x7f = |\t\r\n', "grüße \u20ac \U0001f600".encode(),
    b"\xff\xfe \xf0\x9f\x98 \xed\xa0\x80 \xc0\xaf \xf4\x90\x80\x80", b"a" * 40 + b"\x80", b"x" * 1100,
]
ODD_NUMBERS = [0, 1, -1, 7, 2**31 - 1, -2**31, 2**63 - 1, -2**63, 130000000000000000]


# --- protobuf ---

def varint(value):
    value &= 2**64 - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def number(field, value):
    return varint(field << 3) + varint(value)


def chunk(field, value):
    return varint(field << 3 | 2) + varint(len(value)) + value


def read_proto():
    """Message name to its fields: (type, name, number), and enum name to its values."""
    messages, enums, name, enum = {}, {}, None, None
    for line in PROTO.read_text().splitlines():
        if m := re.match(r"message (\w+)", line):
            name = m[1]
            messages[name] = []
        elif m := re.match(r"\s+enum (\w+)", line):
            enum = m[1]
            enums[enum] = []
        elif m := re.match(r"\s+(?:required|optional|repeated) (\w+) (\w+) = (\d+)", line):
            messages[name].append((m[1], m[2], int(m[3])))
        elif m := re.match(r"\s+\w+ = (\d+);", line):
            enums[enum].append(int(m[1]))
    return messages, enums


MESSAGES, ENUMS = read_proto()


def message(name, variety):
    """One message with every field set; `variety` chooses among odd values."""
    out = b""
    for i, (kind, field, at) in enumerate(MESSAGES[name]):
        pick = variety + i
        if kind in MESSAGES:
            out += chunk(at, message(kind, variety))
        elif kind in ENUMS:
            values = ENUMS[kind] + [99]
            out += number(at, values[pick % len(values)])
        elif kind == "bool":
            out += number(at, pick & 1)
        elif kind == "bytes" and re.search("md5|sha256", field, re.I) and variety % 3:
            out += chunk(at, bytes(range(32 if "256" in field else 16)))
        elif kind == "bytes":
            out += chunk(at, ODD_TEXTS[pick % len(ODD_TEXTS)])
        else:
            out += number(at, ODD_NUMBERS[pick % len(ODD_NUMBERS)])
    return out


def header(extra=b""):
    return chunk(1, number(1, 4) + number(4, 130000000000000000) + number(6, 7) + extra)


ENV = chunk(13, chunk(1, number(1, 7) + chunk(2, b"host-7") + number(3, 9)) + chunk(2, number(1, 1)))
STRINGS = chunk(2, number(1, 7) + chunk(2, b"c:\\path\x00\xff\"")) + chunk(2, number(1, 7) + chunk(2, b"other"))


def records():
    """Name and record."""
    yield "empty", b""
    yield "header", header()
    yield "no_version", chunk(1, number(2, 1))
    members = [(k, n, at) for k, n, at in MESSAGES["CbEventMsg"] if n not in ("header", "strings", "env")]
    for i, (kind, name, at) in enumerate(members):
        for variety in (i, i + 3):
            yield f"{name}_{variety}", chunk(1, message("CbHeaderMsg", variety)) + STRINGS + \
                chunk(at, message(kind, variety)) + (ENV if variety & 1 else b"")
        yield f"{name}_none", header(number(10, 4242) + number(9, 130000000000000000)) + chunk(at, b"")
    kind, _, at = next(m for m in members if m[1] == "networkv2")
    yield "twice", header() + chunk(at, message(kind, 1)) + chunk(at, message(kind, 2)) + ENV + ENV
    address = chunk(8, number(1, 1) + number(3, 2**63) + number(4, 0xFFFF000000000000))
    yield "sub_twice", header() + chunk(20, address + chunk(8, chunk(5, b"eth0")) + address)
    yield "ipv4_in_6", header() + chunk(20, chunk(8, number(1, 1) + number(3, 0x0100007FFFFF0000) + number(4, 0)))
    yield "crossproc_open", header() + chunk(14, chunk(1, message("CbCrossProcessOpenMsg", 2)))
    yield "crossproc_thread", header() + chunk(14, chunk(2, message("CbCreateRemoteThreadMsg", 2)))
    yield "procstart", header() + chunk(3, number(2, 1) + message("CbProcessMsg", 4))
    yield "strings_many", header() + chunk(2, b"") * 300 + chunk(7, b"")
    yield "unknown_fields", header() + number(30, 1) + varint(31 << 3 | 5) + b"1234" + varint(32 << 3 | 1) + b"12345678"
    yield "group", header() + varint(3 << 3 | 3) + varint(3 << 3 | 4)
    yield "cut", (header() + chunk(3, message("CbProcessMsg", 1)))[:-5]


def record_seeds():
    for i, (name, record) in enumerate(records()):
        yield name, bytes([i % 32, i * 7 % 256, i % 256]) + record
    yield "small_arena", bytes([4, 0, 0]) + header() + chunk(2, b"") * 300


# --- bundles and zips ---

def bundle(*parts):
    return b"".join(struct.pack("<I", len(p)) + p for p in parts)


SMALL = [header() + chunk(7, chunk(4, b"k")), header() + ENV, b""]


def bundle_seeds():
    whole = bundle(*SMALL)
    bodies = {
        "three": whole, "empty": b"", "cut_length": whole + b"\x05\x00", "cut_record": whole + b"\xff\xff\xff\xff1",
        "large": bundle(SMALL[0], b"\x0a" * 250, SMALL[1]), "event": SMALL[0], "event_large": header() + b"\x7a" * 250,
        "json": b'{"sensor_id":1}', "json_large": b"{" + b" " * 250 + b"}", "only_rest": b"\x01",
        "first_0a": struct.pack("<I", 3) + b"\x0a\x01\x08", "zeros": bytes(12),
    }
    for i, (name, body) in enumerate(bodies.items()):
        for framing in range(3):
            yield f"{name}_{framing}", bytes([framing + 3 * (i % 60)]) + body


def file_cut_seeds():
    whole = bundle(*SMALL)
    packed = gzip.compress(whole, mtime=0)
    bodies = {
        "three": whole, "empty": b"", "cut_length": whole + b"\x05\x00", "cut_record": whole + b"\xff\xff\xff\xff1",
        "large": bundle(SMALL[0], b"\x0a" * 250, SMALL[1]), "event": SMALL[0], "zip": b"PK\x03\x04\x0a\x00\x00\x00",
        "lines": b'{"a":1}\n\n{"b":2}\n' + b"x" * 100 + b"\nno end", "gzip": packed, "gzip_cut": packed[:-3],
        "gzip_twice": packed + packed, "gzip_padded": packed + bytes(16), "gzip_rest": packed + b"rest",
        "gzip_head": packed[:5], "like_gzip": b"\x1f\x8b\x08\x00\x0a\x10\x08\x04\x20\x00",
    }
    for name, body in bodies.items():
        for options in range(4):
            yield f"{name}_{options}", bytes([options]) + body


def entry(name, content, method=8, flags=0, descriptor=0, crc_error=0, size_error=0, zip64=False):
    packed = content
    if method == 8:
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = deflate.compress(content) + deflate.flush()
    return {"name": name, "packed": packed, "method": method, "flags": flags | (8 if descriptor else 0),
            "descriptor": descriptor, "crc": zlib.crc32(content) ^ crc_error, "size": len(content) + size_error,
            "zip64": zip64}


def common(e, hide):
    crc, packed, size = (0, 0, 0) if hide else (e["crc"], len(e["packed"]), e["size"])
    if e["zip64"] and not hide:
        packed = size = 0xFFFFFFFF
    return struct.pack("<HHHIIIIHH", 45 if e["zip64"] else 20, e["flags"], e["method"], 0x4A32B236, crc, packed, size,
                       len(e["name"]), 20 if e["zip64"] else 0)


def zip_file(*entries, comment=b"", announced=None, same_offset=False, zip64_end=False):
    out, central = b"", b""
    for e in entries:
        extra = struct.pack("<HHQQ", 1, 16, e["size"], len(e["packed"])) if e["zip64"] else b""
        at = 0 if same_offset else len(out)
        out += b"PK\3\4" + common(e, bool(e["descriptor"])) + e["name"] + extra + e["packed"]
        if e["descriptor"]:
            out += (b"PK\7\x08" if e["descriptor"] == 16 else b"") + \
                struct.pack("<III", e["crc"], len(e["packed"]), e["size"])
        central += b"PK\1\2" + struct.pack("<H", 20) + common(e, False) + bytes(10) + struct.pack("<I", at) + \
            e["name"] + extra
    n, at, end64 = len(entries) if announced is None else announced, len(out), b""
    if zip64_end:
        end64 = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, n, n, len(central), at) + b"PK\6\7" + \
            struct.pack("<IQI", 0, at + len(central), 1)
        n = 0xFFFF
    return out + central + end64 + b"PK\5\6" + \
        struct.pack("<HHHHIIH", 0, 0, n, n, 0xFFFFFFFF if zip64_end else len(central),
                    0xFFFFFFFF if zip64_end else at, len(comment)) + comment


def zip_seeds():
    body = bundle(*SMALL)
    plain = entry(b"event.log", body)
    files = {
        "plain": zip_file(plain), "stored": zip_file(entry(b"s", body, method=0)), "none": zip_file(),
        "descriptor12": zip_file(entry(b"d", body, descriptor=12)),
        "descriptor16": zip_file(entry(b"d", body, descriptor=16)),
        "comment": zip_file(plain, comment=b"hello"), "two": zip_file(plain, entry(b"b", body, method=0)),
        "folder": zip_file(entry(b"dir/", b"", method=0), plain), "only_folder": zip_file(entry(b"dir/", b"", method=0)),
        "crc": zip_file(entry(b"c", body, crc_error=1)), "crc_of_two": zip_file(entry(b"c", body, crc_error=1), plain),
        "encrypted": zip_file(entry(b"e", body, flags=1)), "bzip2": zip_file(entry(b"z", body, method=12), plain),
        "ratio": zip_file(entry(b"r", bytes(4000))), "inflated": zip_file(entry(b"i", body * 200, method=0)),
        "many": zip_file(plain, plain, plain, plain, plain), "announced": zip_file(plain, announced=9),
        "overlap": zip_file(plain, plain, plain, same_offset=True), "size": zip_file(entry(b"s", body, size_error=1)),
        "cut": zip_file(plain)[:-3],
        "zip64": zip_file(entry(b"6", body, zip64=True)), "zip64_end": zip_file(plain, zip64_end=True),
        "rest": zip_file(entry(b"t", body + b"\x09\x00")), "empty_entry": zip_file(entry(b"0", b""), plain),
        "large": zip_file(entry(b"l", bundle(SMALL[0], bytes(range(250)), SMALL[1]))), "no_name": zip_file(entry(b"", body)),
    }
    for i, (name, body) in enumerate(files.items()):
        yield name, bytes([i & 1 | (i & 6)]) + body


# --- the others ---

def notification_seeds():
    guid = "00000001-0000-0af4-01cf-ffffffffffff"
    hit = {"type": "x", "cb_server": "y", "event_timestamp": 1447697629.071, "sensor_id": 7, "hostname": "host",
           "highlights": ["a"], "md5": "0123456789abcdef0123456789abcdef", "ioc_type": {"md5": "abc"},
           "comms_ip": -1062731519, "interface_ip": 7, "unique_id": guid + "-00000001", "process_id": guid,
           "parent_unique_id": guid + "-000000000001", "docs": [{"md5": "ABCDEF0123456789abcdef0123456789"}, 7, []]}
    query = {"ioc_type": "query", "ioc_attr": {"direction": "Inbound", "local_port": 1, "remote_ip": "10.0.0.1"},
             "ioc_value": json.dumps({"index_type": "events", "search_query": "cb.urlver=1&q=a%20b+c%zz%"})}
    texts = {
        "hit": json.dumps(hit), "query": json.dumps(query), "empty": "{}", "docs_empty": '{"docs":[],"a":1}',
        "docs_no_array": '{"docs":{"a":1}}', "docs_of_docs": '{"docs":[{"docs":[{"a":1}]}]}',
        "numbers": '{"a":1.0,"b":1e3,"c":2.50,"d":18446744073709551616,"e":-0,"f":0.1E-2}',
        "twice": '{"a":1,"\\u0061":2,"a":{"b":1,"b":[2]},"type":1,"type":2}',
        "surrogates": '{"a":"\\ud800","b":"\\ud83d\\ude00","c":"\\udc00\\ud800x","\\ud800":1}',
        "escapes": '{"a":"\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000=|"}', "space": ' \t\r\n{ "a" : [ 1 , true , null , false ] } \n',
        "deep": '{"a":' + "[" * 98 + "]" * 98 + "}", "too_deep": '{"a":' + "[" * 101 + "]" * 101 + "}",
        "array": "[1]", "cut": '{"a":', "behind": "{}x", "two": "{}{}", "no_json": '{"a":01}', "control": '{"a":"\x01"}',
        "segments": json.dumps({"unique_id": guid + "-0000000f", "parent_id": guid, "parent_unique_id": guid}),
        "alert": json.dumps({"unique_id": guid, "ioc_attr": '{"direction":"Outbound"}'}),
    }
    keys = ["watchlist.hit.process", "feed.24.ingress.hit.process", "alert.watchlist.hit.query.process", "feed.", "", "a\xff"]
    for i, (name, text) in enumerate(texts.items()):
        yield name, bytes([i & 1, i * 11]) + keys[i % len(keys)].encode("latin-1") + b"\n" + text.encode()
    yield "bad_utf8", b"\x01\x40k\n" + b'{"a\xff":"\xf0\x9f\x98","b":"\xed\xa0\x80","md5":"\xc3("}'
    yield "small_arena", b"\x02\x00k\n" + b'{"a":"' + b"x" * 3000 + b'"}'
    yield "small_arena_docs", b"\x02\x00k\n" + b'{"docs":[' + b",".join([b'{"a":1}'] * 100) + b"]}"


def table(*entries):
    body = b"".join(bytes([len(k)]) + k + v for k, v in entries)
    return struct.pack(">I", len(body)) + body


def long_text(kind, text):
    return kind + struct.pack(">I", len(text)) + text


def amqp_headers_seeds():
    values = {
        "i8": b"b\xf9", "u8": b"B\xc8", "i16": b"s\x8a\xd0", "u16": b"u\xea\x60", "i32": b"I\x80\0\0\0",
        "u32": b"i\xff\xff\xff\xff", "i64": b"l\x80" + bytes(7), "u64": b"L" + b"\xff" * 8, "bool": b"t\x01",
        "f32": b"f\0\0\0\0", "f64": b"d" + bytes(8), "decimal": b"D\x02\0\0\0\x07", "time": b"T" + bytes(8),
        "void": b"V", "text": long_text(b"S", b"4242"), "bytes": long_text(b"x", b"-7"), "none": long_text(b"S", b""),
        "long": long_text(b"S", b"9" * 30), "least": long_text(b"S", b"-9223372036854775808"),
        "table": b"F" + table((b"a", b"V")), "array": b"A" + struct.pack(">I", 2) + b"t\x00",
    }
    for name, value in values.items():
        yield name, table(*((key, value) for key in (b"sensorId", b"hostId", b"nodeId", b"sensorHostName", b"x")))
    yield "empty", table()
    yield "real", table((b"sensorId", values["i32"]), (b"hostId", b"l" + struct.pack(">q", 5)), (b"nodeId", b"I\0\0\0\0"),
                        (b"sensorHostName", long_text(b"S", b"WIN-1")), (b"sensorId", values["text"]))
    yield "long_name", table((b"sensorHostName", long_text(b"S", b"h" * 1025)))
    yield "cut", table((b"sensorId", values["text"]))[:-2]
    yield "nested", table((b"a", b"F" + table((b"b", b"F" + table((b"c", b"A" + struct.pack(">I", 0)))))))


def bulk(text):
    return b"$%d\r\n%s\r\n" % (len(text), text)


def array(*items):
    return b"*%d\r\n" % len(items) + b"".join(items)


def redis_seeds():
    def push(body, channel=b"ingress.event.procstart"):
        return array(bulk(b"pmessage"), bulk(b"ingress.event.*"), bulk(channel), bulk(body))

    subscribed = array(bulk(b"psubscribe"), bulk(b"p"), b":1\r\n")
    streams = {
        "two": subscribed + push(b"\x0a\x02\x08\x04") + push(b""), "pong": array(bulk(b"pong"), bulk(b"")) + push(b"x"),
        "long": push(b"y" * 5000) + push(b"z"), "too_large": push(b"w" * 6100) + push(b"z"), "error": b"-ERR no\r\n" + push(b"a"),
        "other": array(bulk(b"message"), bulk(b"c"), bulk(b"b")) + b"+OK\r\n:5\r\n$-1\r\n*-1\r\n*0\r\n" + push(b"x"),
        "nested": array(array(bulk(b"pmessage"), bulk(b"a")), bulk(b"b"), bulk(b"c"), bulk(b"d")),
        "five": array(bulk(b"pmessage"), bulk(b"p"), bulk(b"c"), bulk(b"1"), bulk(b"2")),
        "channel": push(b"x", b"c" * 1025) + push(b"x", b"c" * 1024) + push(b"x", b""),
        "long_elsewhere": array(bulk(b"pmessage"), bulk(b"p" * 5000), bulk(b"c"), bulk(b"d")),
        "cut": push(b"x" * 50)[:-30], "bad_length": b"*4\r\n$x\r\n", "huge": b"*4\r\n$8\r\npmessage\r\n$1\r\np\r\n$1\r\nc\r\n"
        b"$99999999999\r\nabc", "nil": array(bulk(b"pmessage"), b"$-1\r\n", b"$-1\r\n", b"$-1\r\n"),
        "integers": array(bulk(b"pmessage"), b":1\r\n", b":2\r\n", b":3\r\n"), "no_resp": b"HTTP/1.1 400\r\n",
    }
    for i, (name, stream) in enumerate(streams.items()):
        yield name, bytes([i & 1, i * 13 % 256, i, i % 5]) + stream


def config_seeds():
    ends = "[source.bus]\ntype = amqp\n[sink.k]\ntype = kafka\n"
    texts = {
        "least": ends, "empty": "", "redis": "[source.r]\ntype=redis\nchannels = ingress.event.*, other\n[sink.k]\ntype=kafka\n",
        "values": "[cbtap]\nworkers = 2\nlog.level = debug\ninflight_bytes = 268435456\nserver_name = grüße $$ ${HOME}\n" + ends,
        "maps": ends + "kafka.compression.codec = lz4\nkafka.linger.ms=5\ntopic = t-{type}\n",
        "queue": "[source.bus]\ntype = amqp\nqueue.arguments.x-queue-type = quorum\nurl = amqps://u:p@h:1/%2F\n[sink.k]\ntype=kafka\n",
        "filter": "[filter]\ntypes = proc*,netconn\ndrop=ingress.event.filemod\n" + ends, "twice": ends + "type = kafka\n",
        "unknown": "[cbtap]\nworker = 1\n" + ends, "comments": "# a\n; b\n" + ends + "\n\ttopic = x\r\n", "no_section": "a = b\n",
        "bom": "\ufeff" + ends, "range": "[cbtap]\nworkers = 99999\n" + ends, "no_equal": "[cbtap]\nworkers\n", "open": "[cbtap\n",
    }
    for name, text in texts.items():
        yield name, text.encode()
    yield "nul", b"[cbtap]\nserver_name = a\0b\n"


def cb_conf_seeds():
    login = b"RabbitMQUser=cb\nRabbitMQPassword=s3cret\n"
    yield "login", b"# the server's\n\n" + login + b"RabbitMQPort=5004\nRedisHost = 127.0.0.1 \r\nRedisPort\t=6379"
    yield "token", b"RabbitMQUser=cb\nRabbitMQToken=abc\n"
    yield "twice", login + b"RabbitMQUser=cb\nRabbitMQUser=other\n"
    yield "nul", b"RabbitMQPassword=a\0b\n"
    yield "utf8", b"RabbitMQPassword=\xff\n"
    yield "long", b"RedisHost=" + b"h" * 1025
    yield "longest", b"RedisHost=" + b"h" * 1024
    yield "port", login + b"RabbitMQPort=65536\n"
    yield "nothing", b"=\n==\nRabbitMQUser=\n[x]\nRabbitMQUser\n"


TARGETS = {"record": record_seeds, "bundle": bundle_seeds, "file_cut": file_cut_seeds, "zip": zip_seeds,
           "notification": notification_seeds, "amqp_headers": amqp_headers_seeds, "redis": redis_seeds, "config": config_seeds,
           "cb_conf": cb_conf_seeds}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for target, seeds in TARGETS.items():
        folder = Path(sys.argv[1]) / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in seeds():
            (folder / name).write_bytes(data)


main()
