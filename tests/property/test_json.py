# SPDX-License-Identifier: MIT
"""Random records through `cbtap export`: every line equals what the decoder of the specification makes of the record.

The records come in bundles, each with its own choice of options and of what the frame's headers tell of the endpoint.
"""
import collections
import random
import struct

from decoder import DEAD, UNSPECIFIED, Decoder
from exporting import Export, check
from records import Records
import schema

BUNDLE_RECORDS = 400  # few enough that the broken ones stay below 100, after which a frame's rest is one dead letter
OPTIONS = {
    "server_name": ("cbserver", "sérvér \"1\" \\ /"),
    "server_url": ("", "https://cbtests/", "https://edr.example:8443/edr"),
    "float_time": (False, True),
    "headers": ({}, {"sensorId": 7, "sensorHostName": b"host-7", "hostId": 0, "nodeId": 0}, {"sensorId": 4294967},
                {"sensorHostName": "hôte \"7\" \\ ".encode() + b"\xff\xe2\x82"},
                {"sensorId": -1, "sensorHostName": b"", "nodeId": 3}, {"hostId": 2**40}),
    "profile": ("documented", "cbef-3.8"),
}
TYPES = 20  # that come out: all of the table but stats, and "unknown"


def arguments(setting):
    out = ["-s", f"cbtap.server_name={setting['server_name']}", "-s", f"cbtap.server_url={setting['server_url']}",
           "-s", f"filter.float_time={str(setting['float_time']).lower()}", "--profile", setting["profile"]]
    for key, value in setting["headers"].items():
        out += ["--header", key.encode() + b"=" + (value if isinstance(value, bytes) else str(value).encode())]
    return out


def bundle_of(records):
    return b"".join(struct.pack("<I", len(record)) + record for record in records)


def test_every_record_is_as_specified(proto, pytestconfig, tmp_path):
    seed, count = pytestconfig.getoption("--seed"), pytestconfig.getoption("--records")
    source, event_class, enums = Records(proto, seed), schema.event_class(proto), schema.enums(proto)
    outcomes, choice = collections.Counter(), random.Random(seed)
    for start in range(0, count, BUNDLE_RECORDS):
        setting = {name: choice.choice(values) for name, values in OPTIONS.items()}
        decoder = Decoder(event_class, enums, **setting)
        export = Export(pytestconfig.getoption("--cbtap"), arguments(setting), tmp_path,
                        lambda records: bundle_of([source.plain(), *records]), skip=1)
        records = [source.record() for _ in range(min(BUNDLE_RECORDS, count - start))]
        records = [record for record in records if decoder.decode(record) != UNSPECIFIED]
        context = f"records {start} and on of --seed={seed} --records={count}: {setting}"
        for line in check(export, decoder.decode, records, context):
            assert b"\\/" not in line.replace(b"\\\\", b""), f"an escaped slash, {context}: {line}"
        for outcome in map(decoder.decode, records):
            outcomes[outcome if outcome == DEAD else outcome[0]["type"] if outcome else "filtered"] += 1
    assert count < 10000 or len(outcomes) == TYPES + 2 and min(outcomes.values()) > 50, outcomes
