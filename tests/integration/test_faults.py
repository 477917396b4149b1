# SPDX-License-Identifier: MIT
"""What is wrong is said, kept and counted, and what is right beside it goes through."""
import json
import struct
import zipfile
from io import BytesIO

from bus import Load, Publisher, publish_when_bound
from events import Fleet, bundle_of, parse, zip_of
from harness import OVERDRAWN_BYTES_MAX
from process import until

MIB = 1 << 20


def test_missing_exchange_is_named_the_other_works_and_it_is_retried(run, rabbitmq, kafka, pb):
    fleet = Fleet(pb, sensors=1)
    connection = rabbitmq.connect()
    connection.channel().exchange_delete("api.rawsensordata")
    connection.close()
    tap = run.tap(kafka, rabbitmq, **{"source.bus": {"raw": "true", "events": "ingress.event.filemod"}}).start(ready=False)
    tap.wait_log(r"^(warning|error) .*api\.rawsensordata")
    record = fleet.record(100, with_env=True)
    publish_when_bound(rabbitmq, "api.events", "ingress.event.filemod", record, "application/protobuf")
    tap.wait_rest(frames=1)
    assert tap.get("/healthz")[0] == 200

    rabbitmq.declare_exchanges()
    publish_when_bound(rabbitmq, "api.rawsensordata", "", fleet.bundle(100, 2), "application/zip", {"sensorId": 100})
    tap.wait_rest(frames=2)
    tap.wait_ready()
    fleet.check(kafka.records(run.topic))


def test_wrong_password_is_said_and_tried_again(run, rabbitmq, kafka):
    url = rabbitmq.url.replace("guest:guest@", "guest:no-such-secret@")
    tap = run.tap(kafka, rabbitmq, **{"source.bus": {"url": url}}).start(ready=False)
    tap.wait_log(r"^(warning|error) .*(refused|password|login)")
    assert tap.alive() and tap.get("/healthz")[0] == 200
    status, reasons = tap.get("/readyz")
    assert status == 503 and "bus" in reasons
    assert "no-such-secret" not in tap.log(), "the password is in the log"


def test_wrong_redis_password_is_said(run, redis, kafka):
    tap = run.tap(kafka, redis=redis, **{"source.pubsub": {"password": "no-such-secret"}}).start(ready=False)
    tap.wait_log(r"^(warning|error) .*(auth|password)")
    assert tap.alive() and tap.get("/readyz")[0] == 503
    assert "no-such-secret" not in tap.log(), "the password is in the log"


def broken_zip(entry):
    """A zip whose one entry does not match its CRC."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as z:
        z.writestr("0", entry)
    data = bytearray(out.getvalue())
    at = bytes(data).index(entry)
    data[at + len(entry) - 1] ^= 0xFF
    return bytes(data)


def test_poison_is_kept_and_neighbours_are_delivered(run, rabbitmq, kafka, pb):
    fleet = Fleet(pb, sensors=1)
    no_version = b"\x0a\x00"
    # Each with the raw bytes that must turn up as a dead letter; the good records around them must come through.
    rest = struct.pack("<I", 1 << 30) + b"and a length that lies"
    not_protobuf = b"\xff" * 40
    crc = broken_zip(bundle_of([b"\x0a\x02\x08\x04" + b"x" * 20]))
    garbage = [
        bundle_of([fleet.record(100), not_protobuf, fleet.record(100)]),
        bundle_of([no_version, fleet.record(100)]),
        bundle_of([fleet.record(100)]) + rest,
        crc,
        b"PK\x03\x04 this is no zip at all",
        b"",
        zip_of(bundle_of([fleet.record(100)]), bundle_of([not_protobuf]), bundle_of([fleet.record(100)])),
        b"\x01",
    ]
    tap = run.tap(kafka, rabbitmq).start()
    with Publisher(rabbitmq) as publisher:
        for body in garbage:
            publisher.raw(body, {"sensorId": 100, "sensorHostName": "host-100"})
        publisher.raw(fleet.bundle(100, 1), {"sensorId": 100})
    metrics = tap.wait_rest(frames=len(garbage) + 1)

    fleet.check(kafka.records(run.topic))
    dead = kafka.records(run.dead_topic)
    assert len(dead) == 8 == metrics("cbtap_decode_dead_letters_total")
    assert metrics("cbtap_sink_delivered_dead_letters_total") + metrics("cbtap_sink_stored_dead_letters_total") == 8
    values = sorted(record["payload"] or b"" for record in dead)
    assert sum(value == not_protobuf for value in values) == 2
    assert no_version in values
    assert any(rest in value for value in values)
    assert any(value in crc and value for value in values)
    assert b"\x01" in values and b"" in values
    for record in dead:
        headers = record["headers"]
        assert {"reason", "source", "routing_key", "content_type", "position", "sensor_id"} <= headers.keys(), headers
        assert headers["source"] == "bus" and headers["content_type"] == "application/zip"
        assert headers["sensor_id"] == "100"
    reasons = {record["headers"]["reason"] for record in dead}
    assert {"malformed", "no_header", "truncated", "zip_crc", "empty"} <= reasons, reasons


def test_garbage_on_every_way_in_becomes_dead_letters(run, rabbitmq, redis, kafka, pb):
    fleet = Fleet(pb, sensors=1)
    tap = run.tap(kafka, rabbitmq, redis, **{"source.bus": {"raw": "false", "events": "#"}}).start()
    with Publisher(rabbitmq) as publisher:
        publisher.event("ingress.event.filemod", b"\xff\xff\xff\xff")
        publisher.event("watchlist.1.hit.process", b'{"truncated": ', "application/json")
        publisher.event("watchlist.1.hit.process", b"[1, 2]", "application/json")
        publisher.event("ingress.event.filemod", fleet.record(100, with_env=True))
    with redis.client() as client:
        assert client.publish("ingress.event.filemod", b"\xfe" * 30) == 1
    metrics = tap.wait_rest(frames=5)
    dead = kafka.records(run.dead_topic)
    assert sorted(record["payload"] for record in dead) == sorted(
        [b"\xff\xff\xff\xff", b'{"truncated": ', b"[1, 2]", b"\xfe" * 30])
    assert metrics("cbtap_decode_dead_letters_total") == 4
    assert metrics("cbtap_decode_dead_letters_total", reason="not_json") == 2
    assert {record["headers"]["source"] for record in dead} == {"bus", "pubsub"}
    by_value = {record["payload"]: record["headers"] for record in dead}
    assert by_value[b"[1, 2]"]["routing_key"] == "watchlist.1.hit.process"
    assert by_value[b"[1, 2]"]["content_type"] == "application/json"
    fleet.check(kafka.records(run.topic))


def test_too_large_a_message_is_a_dead_letter_in_the_directory(run, rabbitmq, kafka, pb):
    fleet = Fleet(pb, sensors=1)
    large = bytes(range(256)) * 1000
    tap = run.tap(kafka, rabbitmq, cbtap={"frame_max_bytes": 200_000}).start()
    with Publisher(rabbitmq) as publisher:
        publisher.raw(large, {"sensorId": 100})
        publisher.raw(fleet.bundle(100, 1), {"sensorId": 100})
    metrics = tap.wait_rest(frames=2)
    assert metrics("cbtap_decode_dead_letters_total", reason="frame_too_large") == 1
    files = list(run.dead_dir.glob("*.bin"))
    assert len(files) == 1 and files[0].read_bytes() == large
    info = json.loads(files[0].with_suffix(".json").read_text())
    assert info["reason"] == "frame_too_large" and info["source"] == "bus"
    fleet.check(kafka.records(run.topic))


def test_notifications_pass_with_type_and_server(run, rabbitmq, kafka):
    tap = run.tap(kafka, rabbitmq, **{"source.bus": {"raw": "false", "events": "watchlist.#,feed.#"}}).start()
    body = b'{"big": 123456789012345678901234567890, "float": 1447697629.0710, "sensor_id": "12", "text": "\\ud800 \\u00e9 a/b"}'
    with Publisher(rabbitmq) as publisher:
        publisher.event("watchlist.12.storage.hit.process", body, "application/json")
        publisher.event("feed.24.ingress.hit.process", b'{"x": [1, 1.0, 1e0], "cb_server": "another"}', "application/json")
        publisher.event("alert.watchlist.hit", b'{"not": "bound"}', "application/json")
    metrics = tap.wait_rest(frames=2)
    by_type = {str(line["type"]): (line, record["key"]) for record in kafka.records(run.topic)
               for line in [parse(record["payload"])]}
    assert set(by_type) == {"watchlist.12.storage.hit.process", "feed.ingress.hit.process"}
    line, key = by_type["watchlist.12.storage.hit.process"]
    assert line["big"] == parse("123456789012345678901234567890") and line["float"] == parse("1447697629.0710")
    assert line["cb_server"] == "cbserver" and key == "12" and line["text"].endswith("é a/b")
    line, key = by_type["feed.ingress.hit.process"]
    assert line["x"] == parse("[1, 1.0, 1e0]") and line["cb_server"] == "cbserver"
    assert metrics("cbtap_source_received_frames_total") == 2
    assert metrics("cbtap_decode_events_total", type="other") == 2


def test_full_share_of_redis_drops_whole_messages_counted_exactly(run, redis, kafka, pb):
    fleet = Fleet(pb, sensors=1)
    tap = run.tap(kafka, redis=redis, cbtap={"inflight_bytes": 4 * MIB}).start()
    record = fleet.record(100, with_env=True)
    with redis.client() as client:
        client.publish("ingress.event.filemod", record)
        tap.wait_rest(frames=1)
        kafka.pause()
        published = 1

        def drops():
            nonlocal published
            with client.pipeline(transaction=False) as pipeline:
                for _ in range(500):
                    pipeline.publish("ingress.event.filemod", record)
                assert pipeline.execute() == [1] * 500, "Redis has cut cbtap off"
            published += 500
            return tap.metrics()("cbtap_dropped_frames_total", reason="budget") > 500

        until(drops, 60 * run.scale.slow, "messages to be dropped")
        metrics = tap.metrics()
        metrics.assert_balance_under_load(frames_max=published, workers=2)
        assert metrics("cbtap_inflight_bytes") <= 4 * MIB + OVERDRAWN_BYTES_MAX
        kafka.resume()
        metrics = tap.wait_rest(frames=published)
    dropped = metrics("cbtap_dropped_frames_total")
    arrived = len(kafka.records(run.topic))
    assert metrics("cbtap_source_received_frames_total") == published
    assert dropped > 500 and arrived == metrics("cbtap_sink_delivered_records_total") == published - dropped
    assert metrics("cbtap_source_connects_total") == 1


def test_an_old_binding_is_filtered_and_named(run, rabbitmq, kafka, pb):
    fleet = Fleet(pb, sensors=1)
    tap = run.tap(kafka, rabbitmq, **{"source.bus": {"raw": "false", "events": "ingress.event.filemod"}}).start()
    connection = rabbitmq.connect()
    connection.channel().queue_bind(run.queue, "api.events", "ingress.event.regmod")
    connection.close()
    with Publisher(rabbitmq) as publisher:
        publisher.event("ingress.event.regmod", b"whatever it is")
        publisher.event("ingress.event.filemod", fleet.record(100, with_env=True))
    metrics = tap.wait_rest(frames=2)
    assert metrics("cbtap_decode_filtered_events_total", reason="unmatched_routing_key") == 1
    tap.wait_log(r"^(warning|info) .*ingress\.event\.regmod")
    fleet.check(kafka.records(run.topic))


def test_kafka_refusing_large_records_makes_dead_letters_of_these_only(run, rabbitmq, kafka, pb):
    """A record above the topic's limit, among small ones of the same endpoint."""
    fleet = Fleet(pb, sensors=1)
    large = pb.CbEventMsg()
    large.ParseFromString(fleet.record(100))
    fleet.count.clear()
    large.strings[0].utf8string = b"x" * (1_200_000)
    body = bundle_of([fleet.record(100), large.SerializeToString(), fleet.record(100)])
    tap = run.tap(kafka, rabbitmq).start()
    with Publisher(rabbitmq) as publisher:
        publisher.raw(zip_of(body), {"sensorId": 100})
    metrics = tap.wait_rest(frames=1)
    assert metrics("cbtap_decode_dead_letters_total") == 1
    stored = list(run.dead_dir.glob("*.bin")) if run.dead_dir.exists() else []
    assert len(stored) + len(kafka.records(run.dead_topic)) == 1
    fleet.check(kafka.records(run.topic))


def test_two_receivers_and_more_workers_lose_nothing(run, rabbitmq, kafka, pb, scale):
    fleet = Fleet(pb, sensors=30)
    tap = run.tap(kafka, rabbitmq, cbtap={"workers": 4}, **{"source.bus": {"receivers": 2}}).start()
    load = Load(rabbitmq, fleet, messages=scale(1000), events_each=10, per_second=scale(2000))
    load.start()
    load.finish()
    metrics = tap.wait_rest(frames=scale(1000))
    assert metrics("cbtap_sink_delivered_records_total") == fleet.total
    fleet.check(kafka.records(run.topic), ordered=False)
