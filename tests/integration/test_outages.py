# SPDX-License-Identifier: MIT
"""Nothing is lost, and memory stays bounded, when cbtap, Kafka, RabbitMQ or Redis go away and come back: the counters of
each case. See tests/stress for faults under load."""
import re

import pytest

from bus import Load, Publisher, queue_depth, send_marker, wait_drained
from events import Fleet
from harness import OVERDRAWN_BYTES_MAX
from process import until

# Under a sanitizer the short fault matrix (tests/stress) goes the same ways.
pytestmark = pytest.mark.without("address", "thread")

MIB = 1 << 20
# What cbtap holds besides inflight_bytes: librdkafka's own buffers, arenas, stacks, code. A sanitizer multiplies it.
MEMORY_CONSTANT_BYTES = 64 * MIB


def count_repeats_none_missing(fleet, run, kafka, duplicates=True, ordered=True):
    return fleet.check(kafka.records(run.topic), duplicates, ordered)


def test_kill_9_with_everything_in_flight_loses_nothing(run, rabbitmq, kafka, pb):
    """Kafka holds still while cbtap takes all there is and is killed: the broker delivers every message again."""
    fleet = Fleet(pb, sensors=10)
    tap = run.tap(kafka, rabbitmq).start()
    with Publisher(rabbitmq) as publisher:
        publisher.raw(fleet.bundle(100, 5), {"sensorId": 100})
        tap.wait_rest(frames=1)
        kafka.pause()
        for number in range(200):
            sensor = fleet.sensors[number % 10]
            publisher.raw(fleet.bundle(sensor, 10), {"sensorId": sensor})
    tap.wait(lambda m: m("cbtap_inflight_frames") == 200, what="all to be in flight")
    assert queue_depth(rabbitmq, run.queue) == 0
    tap.kill()
    kafka.resume()
    tap.start()
    metrics = tap.wait_rest(frames=200)
    assert metrics("cbtap_source_redelivered_frames_total") == 200
    assert metrics("cbtap_source_settled_frames_total") == 200
    count_repeats_none_missing(fleet, run, kafka, ordered=False)


def fill(tap, limit, run, messages):
    """Waits until cbtap reads no more for want of budget, while there is more (in the queue, or on its way from it)."""
    def full(metrics):
        return metrics("cbtap_inflight_bytes") > limit * 0.4 and metrics("cbtap_stage_blocked_seconds_total", stage="ingest") > 0

    tap.wait(full, what="the budget to be used up")
    counts = []

    def reads_no_more():
        counts.append(tap.metrics()("cbtap_source_received_frames_total"))
        return len(counts) > 10 and counts[-1] == counts[-10] < messages

    until(reads_no_more, 30 * run.scale.slow, lambda: f"reading to stop: {counts[-20:]}", 0.05)


@pytest.mark.parametrize("how", ["paused", "stopped"])
def test_kafka_away_costs_latency_not_memory_nor_events(run, rabbitmq, kafka, pb, scale, how):
    limit = 8 * MIB
    fleet = Fleet(pb, sensors=50)
    tap = run.tap(kafka, rabbitmq, cbtap={"inflight_bytes": limit}).start()
    with Publisher(rabbitmq) as publisher:
        publisher.raw(fleet.bundle(100, 1), {"sensorId": 100})
    tap.wait_rest(frames=1)
    before = tap.memory_bytes()
    # Seven times what the budget holds, once decoded and encoded.
    load = Load(rabbitmq, fleet, messages=1200, events_each=100, per_second=3000)
    if how == "paused":
        kafka.pause()
    else:
        kafka.stop()
    load.start()
    fill(tap, limit, run, messages=1200)
    load.finish()
    metrics = tap.metrics()
    metrics.assert_balance_under_load(frames_max=10_000, workers=2)
    if how == "stopped":
        tap.wait(lambda m: m("cbtap_sink_connected") == 0, what="the sink to be known as gone")
        status, reasons = tap.get("/readyz")
        assert status == 503 and "kafka" in reasons
        assert tap.get("/healthz")[0] == 200, tap.get("/healthz")
        kafka.start()
    else:
        kafka.resume()

    highest = 0

    def note_highest(metrics):
        nonlocal highest
        highest = max(highest, metrics("cbtap_inflight_bytes"))
        metrics.assert_balance_under_load(frames_max=10_000, workers=2)
        return drained(metrics)

    drained = send_marker(tap, rabbitmq, pb)
    tap.wait(note_highest, what="all to be delivered").assert_balance_at_rest()
    tap.wait_ready()
    assert metrics("cbtap_inflight_bytes_limit") == limit
    assert highest <= limit + OVERDRAWN_BYTES_MAX, f"{highest} bytes in flight, {limit} allowed"
    if not scale.sanitizer:
        peak = tap.memory_bytes("VmHWM")
        assert peak <= limit + MEMORY_CONSTANT_BYTES, f"{peak >> 20} MiB used, {before >> 20} MiB before the outage"
    repeated = count_repeats_none_missing(fleet, run, kafka, duplicates=True)
    # Neither Kafka's pause nor its stop makes cbtap repeat anything; RabbitMQ does, after half a minute of not being read.
    assert repeated == 0 or tap.metrics()("cbtap_source_connects_total") > 1


def test_rabbitmq_restart_keeps_persistent_messages(run, rabbitmq, kafka, pb):
    fleet = Fleet(pb, sensors=10)
    tap = run.tap(kafka, rabbitmq).start()
    assert tap.metrics()("cbtap_source_connected", source="bus") == 1
    with Publisher(rabbitmq) as publisher:
        publisher.raw(fleet.bundle(100, 1), {"sensorId": 100})
    tap.wait_rest(frames=1)
    kafka.pause()
    with Publisher(rabbitmq, persistent=True, confirm=True) as publisher:
        for number in range(100):
            sensor = fleet.sensors[number % 10]
            publisher.raw(fleet.bundle(sensor, 10), {"sensorId": sensor})
    tap.wait(lambda m: m("cbtap_inflight_frames") == 100, what="all to be in flight")
    rabbitmq.stop()
    tap.wait(lambda m: m("cbtap_source_connected", source="bus") == 0, what="the loss of the connection to be seen")
    status, reasons = tap.get("/readyz")
    assert status == 503 and "bus" in reasons
    kafka.resume()
    # Delivered, but there is no channel any more to acknowledge them on.
    tap.wait(lambda m: m("cbtap_source_abandoned_frames_total") == 100, what="the frames to be abandoned")
    rabbitmq.start()
    tap.wait_ready(60)
    metrics = tap.wait_rest(frames=201)
    assert metrics("cbtap_source_connected", source="bus") == 1
    assert metrics("cbtap_source_connects_total", source="bus") == 2
    assert metrics("cbtap_source_redelivered_frames_total") == 100
    assert metrics("cbtap_source_settled_frames_total") == 101
    assert queue_depth(rabbitmq, run.queue) == 0
    assert count_repeats_none_missing(fleet, run, kafka, ordered=False) == 1000, "what was abandoned is delivered again, once"


def test_redis_restart_counts_a_gap(run, redis, kafka, pb):
    fleet = Fleet(pb, sensors=1)
    tap = run.tap(kafka, redis=redis).start()
    with redis.client() as client:
        for _ in range(10):
            assert client.publish("ingress.event.filemod", fleet.record(100, with_env=True)) == 1
    metrics = tap.wait_rest(frames=10)
    assert metrics("cbtap_source_connected", source="pubsub") == 1
    assert metrics("cbtap_source_gap_seconds_total", source="pubsub") == 0
    redis.stop()
    tap.wait(lambda m: m("cbtap_source_connected", source="pubsub") == 0, what="the loss of the connection to be seen")
    assert tap.get("/readyz")[0] == 503 and "pubsub" in tap.get("/readyz")[1]
    redis.start()
    # Connected comes first, then its count.
    metrics = tap.wait(lambda m: m("cbtap_source_connected", source="pubsub") == 1 and
                       m("cbtap_source_connects_total", source="pubsub") == 2, what="the connection to be back")
    assert metrics("cbtap_source_gap_seconds_total", source="pubsub") > 0
    tap.wait_log(r"gap|at.most.once")
    with redis.client() as client:
        for _ in range(10):
            assert client.publish("ingress.event.filemod", fleet.record(100, with_env=True)) == 1
    tap.wait_rest(frames=20)
    count_repeats_none_missing(fleet, run, kafka, duplicates=False)


def test_sigterm_while_kafka_is_away_ends_in_time_and_loses_nothing(run, rabbitmq, kafka, pb):
    fleet = Fleet(pb, sensors=5)
    tap = run.tap(kafka, rabbitmq, cbtap={"shutdown_timeout_ms": 1000}).start()
    with Publisher(rabbitmq) as publisher:
        publisher.raw(fleet.bundle(100, 1), {"sensorId": 100})
        tap.wait_rest(frames=1)
        kafka.pause()
        for number in range(50):
            publisher.raw(fleet.bundle(fleet.sensors[number % 5], 10), {"sensorId": fleet.sensors[number % 5]})
    tap.wait(lambda m: m("cbtap_inflight_frames") == 50, what="all to be in flight")
    tap.process.signal(15)
    status = tap.process.wait(15 * run.scale.slow)
    assert status is not None, "it did not end within shutdown_timeout_ms"
    assert status in (0, 1), tap.log()
    tap.discard()
    kafka.resume()
    tap.start()
    tap.wait_rest(frames=50)
    count_repeats_none_missing(fleet, run, kafka, ordered=False)


def test_peers_absent_at_the_start_are_tried_until_they_come(run, rabbitmq, redis, kafka, pb):
    fleet = Fleet(pb, sensors=1)
    redis.stop()
    kafka.stop()
    tap = run.tap(kafka, rabbitmq, redis).start(ready=False)
    until(lambda: tap.get("/readyz")[0] == 503 and re.search("pubsub", tap.get("/readyz")[1]) and
          re.search("kafka", tap.get("/readyz")[1]) and "bus" not in tap.get("/readyz")[1], 20 * run.scale.slow,
          lambda: f"both to be named: {tap.get('/readyz')}")
    redis.start()
    kafka.start()
    tap.wait_ready(60)
    with Publisher(rabbitmq) as publisher:
        publisher.raw(fleet.bundle(100, 3), {"sensorId": 100})
    tap.wait_rest(frames=1)
    count_repeats_none_missing(fleet, run, kafka, duplicates=False)
