# SPDX-License-Identifier: MIT
"""The accounts balance, at rest and under load, and health and readiness say what is so."""
import json
import time

import pytest

from bus import Load, Publisher
from events import Fleet, bundle_of


def test_balance_holds_under_load_and_at_rest(run, rabbitmq, kafka, pb, scale):
    fleet = Fleet(pb, sensors=50)
    tap = run.tap(kafka, rabbitmq, filter={"drop": "netconn"}).start()
    load = Load(rabbitmq, fleet, messages=scale(3000), events_each=30, per_second=scale(1500))
    load.start()
    scrapes = 0

    def check(metrics):
        nonlocal scrapes
        scrapes += 1
        metrics.assert_balance_under_load(frames_max=10_000, workers=2)
        return metrics("cbtap_source_received_frames_total") >= len(load.messages) and metrics.at_rest()

    tap.wait(check, 120).assert_balance_at_rest()
    load.finish()
    # A frame's time is counted after all else of it.
    metrics = tap.wait(lambda m: m("cbtap_end_to_end_seconds_count") == m("cbtap_decode_seconds_count") == len(load.messages),
                       what="the time of each message")
    assert scrapes > 10
    assert metrics("cbtap_source_received_frames_total") == metrics("cbtap_source_settled_frames_total") == len(load.messages)
    assert metrics("cbtap_source_received_bytes_total") == sum(len(body) for _, body in load.messages)
    assert metrics("cbtap_decode_events_total", type="filemod") == fleet.total
    assert metrics("cbtap_sink_delivered_records_total") == fleet.total
    assert metrics("cbtap_inflight_bytes") <= metrics("cbtap_inflight_bytes_limit")
    fleet.check(kafka.records(run.topic))


def test_filtered_events_are_counted_not_delivered(run, rabbitmq, kafka, pb):
    fleet = Fleet(pb, sensors=1)
    netconn = pb.CbEventMsg()
    netconn.ParseFromString(fleet.record(100))
    netconn.ClearField("filemod")
    netconn.networkv2.utf8_netpath = b"example.com"
    del netconn.strings[:]
    fleet.count.clear()
    body = bundle_of([netconn.SerializeToString(), fleet.record(100), netconn.SerializeToString()])
    tap = run.tap(kafka, rabbitmq, filter={"drop": "netconn"}).start()
    with Publisher(rabbitmq) as publisher:
        publisher.raw(body, {"sensorId": 100})
    metrics = tap.wait_rest(frames=1)
    assert metrics("cbtap_decode_filtered_events_total", reason="type") == 2
    assert metrics("cbtap_decode_events_total", type="netconn") == 2
    assert metrics("cbtap_sink_delivered_records_total") == 1
    fleet.check(kafka.records(run.topic))


def test_health_readiness_status_and_page(run, rabbitmq, redis, kafka):
    tap = run.tap(kafka, rabbitmq, redis).start()
    assert tap.get("/healthz")[0] == 200
    assert tap.get("/readyz")[0] == 200
    assert "<html" in tap.get("/")[1].lower()
    assert isinstance(json.loads(tap.get("/status.json")[1]), dict)
    assert tap.get("/nothing-here")[0] == 404
    metrics = tap.metrics()
    assert metrics("cbtap_source_connected", source="bus") == 1
    assert metrics("cbtap_source_connected", source="pubsub") == 1
    assert metrics("cbtap_build_info") == 1
    tap.wait_log("at-most-once")


@pytest.mark.without("address", "thread")
def test_idle_costs_next_to_nothing(run, rabbitmq, redis, kafka, pb):
    """With everything connected and nothing to do: under 0.2 % of a processor."""
    fleet = Fleet(pb, sensors=1)
    tap = run.tap(kafka, rabbitmq, redis).start()
    with Publisher(rabbitmq) as publisher:
        publisher.raw(fleet.bundle(100, 1), {"sensorId": 100})
    tap.wait_rest(frames=1)
    idle_s = 15
    used_s = []
    # What else the machine does makes every wake-up dearer: the quietest stretch is what the daemon needs.
    while not used_s or (min(used_s) >= 0.002 * idle_s and len(used_s) < 4):
        before = tap.metrics()
        time.sleep(idle_s)  # what is measured, not a wait for something
        after = tap.metrics()
        used_s.append(after("process_cpu_seconds_total") - before("process_cpu_seconds_total"))
    assert min(used_s) < 0.002 * idle_s, f"{used_s} s, each of {idle_s} s"
    assert after("cbtap_source_connects_total") == 2


@pytest.mark.without("address", "thread")
def test_waiting_for_kafka_costs_little(run, rabbitmq, kafka, pb):
    """With batches under way and more behind them, Kafka silent: under 5 % of a processor."""
    fleet = Fleet(pb, sensors=16)
    tap = run.tap(kafka, rabbitmq).start()
    kafka.pause()
    try:
        with Publisher(rabbitmq) as publisher:
            for frames in (16, 32):
                for sensor in fleet.sensors:
                    publisher.raw(fleet.bundle(sensor, 10), {"sensorId": sensor})
                tap.wait(lambda m, frames=frames: m("cbtap_inflight_events") == 10 * frames)
        before = tap.metrics()
        waiting_s = 5
        time.sleep(waiting_s)  # what is measured, not a wait for something
        after = tap.metrics()
    finally:
        kafka.resume()
    used_s = after("process_cpu_seconds_total") - before("process_cpu_seconds_total")
    assert used_s < 0.05 * waiting_s, f"{used_s} s of {waiting_s} s"
    tap.wait_rest(frames=32)
    fleet.check(kafka.records(run.topic))
