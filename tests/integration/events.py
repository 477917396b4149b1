# SPDX-License-Identifier: MIT
"""Events for the tests: those of the corpus with their expected output, and synthetic ones that tell when one is missing."""
import collections
import importlib
import io
import json
import os
import re
import struct
import subprocess
import sys
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CORPUS = os.path.join(ROOT, "..", "shared", "corpus")
RAW_HEADERS = {"sensorId": 7, "sensorHostName": "host-7", "hostId": 0, "nodeId": 0}


class Number(str):
    """A JSON number by its digits: equal to no string, and 1, 1.0 and 1e0 differ."""

    def __eq__(self, other):
        return isinstance(other, Number) and str.__eq__(self, other)

    def __ne__(self, other):
        return not self == other

    __hash__ = str.__hash__


def parse(text):
    """A JSON value whose numbers compare by their text; a key given twice is an error."""
    def unique(pairs):
        keys = [key for key, _ in pairs]
        assert len(keys) == len(set(keys)), f"a key twice in {text}"
        return dict(pairs)

    return json.loads(text, parse_int=Number, parse_float=Number, parse_constant=None, object_pairs_hook=unique)


def golden(name):
    with open(os.path.join(CORPUS, "golden", name), encoding="utf-8") as f:
        return [parse(line) for line in f]


def corpus_file(name):
    with open(os.path.join(CORPUS, name), "rb") as f:
        return f.read()


def split_bundle(bundle):
    """The records of a bundle, without their lengths."""
    at = 0
    while at < len(bundle):
        (length,) = struct.unpack_from("<I", bundle, at)
        yield bundle[at + 4:at + 4 + length]
        at += 4 + length


def bundle_of(records):
    return b"".join(struct.pack("<I", len(record)) + record for record in records)


def zip_of(*bundles):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for i, bundle in enumerate(bundles):
            z.writestr(str(i), bundle)
    return out.getvalue()


def assert_same_lines(found, expected):
    """Both are lists of parsed lines; says which key of which line differs first."""
    for number, (have, want) in enumerate(zip(found, expected), 1):
        differ = {key: (have.get(key, "(absent)"), want.get(key, "(absent)"))
                  for key in have.keys() | want.keys() if have.get(key, key) != want.get(key, key) or
                  (key in have) != (key in want)}
        assert not differ, f"line {number}, found and expected: {differ}"
    assert len(found) == len(expected), f"{len(found)} lines instead of {len(expected)}"


def event_messages(folder):
    """The event messages for Python, from cbtap's own .proto; made in the folder."""
    if "sensor_events_pb2" not in sys.modules:
        subprocess.run(["protoc", f"-I{ROOT}/proto", f"--python_out={folder}", f"{ROOT}/proto/sensor_events.proto"], check=True)
        sys.path.insert(0, str(folder))
    return importlib.import_module("sensor_events_pb2")


TICKS_PER_SECOND = 10_000_000
UNIX_EPOCH_TICKS = 11644473600 * TICKS_PER_SECOND


MARKER_SENSOR = 99_999


def marker(pb):
    """A bundle of one tamper alert, which no fleet sends: published last, it tells when all before it has arrived."""
    event = pb.CbEventMsg()
    event.header.version = 4
    event.tamperAlert.type = 3
    return bundle_of([event.SerializeToString()])


class Fleet:
    """Synthetic endpoints: each one's event times go up by a second from event to event, so that every event is known by
    its sensor id and time, and missing, repeated and misplaced ones show."""

    def __init__(self, pb, sensors, first_unix=1_700_000_000):
        self.pb = pb
        self.sensors = list(range(100, 100 + sensors))
        self.first_unix = first_unix
        self.count = collections.Counter()

    def record(self, sensor, with_env=False):
        pb = self.pb
        event = pb.CbEventMsg()
        number = self.count[sensor]
        self.count[sensor] += 1
        header = event.header
        header.version = 4
        header.timestamp = UNIX_EPOCH_TICKS + (self.first_unix + number) * TICKS_PER_SECOND
        header.process_pid = 1000 + number % 50
        header.process_create_time = UNIX_EPOCH_TICKS + self.first_unix * TICKS_PER_SECOND
        header.process_path = b"c:\\windows\\system32\\svchost.exe"
        header.process_md5 = bytes(range(16))
        header.filepath_string_guid = 5
        string = event.strings.add()
        string.guid = 5
        string.utf8string = b"c:\\users\\somebody\\appdata\\local\\temp\\file-%d.tmp" % number
        event.filemod.guid = 5
        event.filemod.action = 2
        if with_env:
            event.env.endpoint.SensorId = sensor
            event.env.endpoint.SensorHostName = b"host-%d" % sensor
        return event.SerializeToString()

    def bundle(self, sensor, events):
        return bundle_of(self.record(sensor) for _ in range(events))

    @property
    def total(self):
        return sum(self.count.values())

    def check(self, records, duplicates=False, ordered=True):
        """Every event is among the Kafka records. A repeat is an error unless duplicates; so is an event that comes for
        the first time after a later one of its endpoint, unless not ordered."""
        seen = {sensor: set() for sensor in self.count}
        last = {}
        repeated = misplaced = 0
        for record in records:
            sensor = int(record["key"])
            if sensor == MARKER_SENSOR:
                continue
            number = int(re.search(rb'"timestamp":(\d+)', record["payload"])[1]) - self.first_unix
            if number in seen[sensor]:
                repeated += 1
                continue
            seen[sensor].add(number)
            place = record["partition"]
            if sensor in last and (last[sensor][0] > number or last[sensor][1] != place):
                misplaced += 1
            last[sensor] = (number, place)
        missing = {s: sorted(set(range(n)) - seen[s])[:5] for s, n in self.count.items() if len(seen[s]) < n}
        assert not missing, f"missing of {len(missing)} endpoints (sensor: first numbers): {dict(list(missing.items())[:5])}"
        assert duplicates or repeated == 0, f"{repeated} events twice"
        assert not ordered or misplaced == 0, f"{misplaced} events out of order"
        return repeated
