# SPDX-License-Identifier: MIT
"""Real events come out of Kafka exactly as the corpus expects them."""
import os

import pytest

import events
from bus import Publisher

pytestmark = pytest.mark.corpus

ZIPS = [0, 1, 2, 3, 4]
TYPES = ["childproc", "crossprocopen", "emetmitigation", "filemod", "module", "moduleload", "netconn", "procend",
         "process", "processblock", "regmod", "remotethread", "tamper"]


def all_records():
    """(type, its records) of every file in events/."""
    return [(name, list(events.split_bundle(events.corpus_file(f"events/ingress.event.{name}.log")))) for name in TYPES]


def assert_golden(records, types):
    """The records of each type, which one endpoint's order need not keep together, equal its golden file. What is
    published one by one arrives in order for each endpoint only, so lines are matched within (type, sensor)."""
    def split(lines):
        parts = {}
        for line in lines:
            parts.setdefault((line["type"], line["sensor_id"]), []).append(line)
        return parts

    expected = split([line for name in types for line in events.golden(f"events/ingress.event.{name}.ndjson")])
    found = split([events.parse(record["payload"]) for record in records])
    assert {k: len(v) for k, v in found.items()} == {k: len(v) for k, v in expected.items()}
    for key, lines in expected.items():
        events.assert_same_lines(found[key], lines)


def test_corpus_is_complete():
    names = {name[len("ingress.event."):-len(".log")] for name in os.listdir(os.path.join(events.CORPUS, "events"))}
    assert names == set(TYPES)


def test_zips_on_rawsensordata_equal_golden(run, rabbitmq, kafka):
    tap = run.tap(kafka, rabbitmq).start()
    with Publisher(rabbitmq) as publisher:
        for number in ZIPS:
            publisher.raw(events.corpus_file(f"zip/{number}.zip"), events.RAW_HEADERS)
    metrics = tap.wait_rest(frames=len(ZIPS))

    records = kafka.records(run.topic)
    expected = [line for number in ZIPS for line in events.golden(f"zip/{number}.headers.ndjson")]
    events.assert_same_lines([events.parse(record["payload"]) for record in records], expected)
    assert {record["key"] for record in records} == {"7"} and len({record["partition"] for record in records}) == 1
    assert metrics("cbtap_source_settled_frames_total", source="bus") == len(ZIPS)
    assert metrics("cbtap_sink_delivered_records_total", sink="kafka") == len(expected)
    assert metrics("cbtap_sink_delivered_bytes_total") == sum(len(r["payload"]) + len(r["key"]) for r in records)
    assert metrics("cbtap_decode_dead_letters_total") == 0
    for event_type in {str(line["type"]).removeprefix("ingress.event.") for line in expected}:
        count = sum(line["type"] == f"ingress.event.{event_type}" for line in expected)
        assert metrics("cbtap_decode_events_total", type=event_type) == count
    assert kafka.records(run.dead_topic) == []


def test_single_events_on_api_events_equal_golden(run, rabbitmq, kafka):
    tap = run.tap(kafka, rabbitmq, **{"source.bus": {"raw": "false", "events": "ingress.event.#"}}).start()
    count = 0
    with Publisher(rabbitmq) as publisher:
        for name, records in all_records():
            for record in records:
                publisher.event(f"ingress.event.{name}", record)
                count += 1
    metrics = tap.wait_rest(frames=count)
    assert_golden(kafka.records(run.topic), TYPES)
    assert metrics("cbtap_source_received_frames_total") == metrics("cbtap_source_settled_frames_total") == count
    assert metrics("cbtap_sink_delivered_records_total") == count
    assert metrics("cbtap_decode_dead_letters_total") == metrics("cbtap_decode_filtered_events_total") == 0


def test_single_events_on_redis_equal_golden(run, redis, kafka):
    tap = run.tap(kafka, redis=redis).start()
    count = 0
    with redis.client() as client:
        for name, records in all_records():
            for record in records:
                assert client.publish(f"ingress.event.{name}", record) == 1
                count += 1
    metrics = tap.wait_rest(frames=count)
    assert_golden(kafka.records(run.topic), TYPES)
    assert metrics("cbtap_source_received_frames_total", source="pubsub") == count
    assert metrics("cbtap_sink_delivered_records_total") == count
    assert metrics("cbtap_dropped_frames_total") == 0


def test_whole_bundles_without_headers_equal_golden(run, rabbitmq, kafka):
    """A zip without headers has no sensor; a bare bundle is told by its body, whatever its content type says."""
    tap = run.tap(kafka, rabbitmq).start()
    with Publisher(rabbitmq) as publisher:
        publisher.raw(events.corpus_file("zip/0.zip"), None, "application/protobuf")
        publisher.raw(events.corpus_file("archived-2013.log"), None, "application/protobuf")
    tap.wait_rest(frames=2)
    records = kafka.records(run.topic)
    expected = events.golden("zip/0.ndjson") + events.golden("archived-2013.ndjson")
    events.assert_same_lines([events.parse(record["payload"]) for record in records], expected)
    assert {record["key"] for record in records} == {"0"}
