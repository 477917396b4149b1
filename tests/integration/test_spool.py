# SPDX-License-Identifier: MIT
"""Redis with a spool_dir: what cbtap has read from the socket reaches Kafka, whatever ends in between."""
import random
import re
import threading
import time

import pytest

from events import Fleet
from harness import OVERDRAWN_BYTES_MAX
from process import until

MIB = 1 << 20
CHANNEL = "ingress.event.filemod"


class Load:
    """Publishes at a steady pace while somebody is subscribed, and notes what Redis gave to whom: `given` holds sensor,
    number and the life of the subscriber, in the order of the stream."""

    def __init__(self, redis, fleet, per_second):
        self.redis, self.fleet, self.per_second = redis, fleet, per_second
        self.given = []
        self.life = 0
        self.publishing = threading.Lock()  # a batch belongs to one life
        self.ending = threading.Event()
        self.failure = None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def publish(self, client, batch):
        messages = []
        with client.pipeline(transaction=False) as pipeline:
            for _ in range(batch):
                sensor = self.fleet.sensors[len(messages) % len(self.fleet.sensors)]
                messages.append((sensor, self.fleet.count[sensor], self.life))
                pipeline.publish(CHANNEL, self.fleet.record(sensor, with_env=True))
            reached = pipeline.execute()
        self.given += [message for message, subscribers in zip(messages, reached) if subscribers == 1]

    def run(self):
        batch = 50
        try:
            with self.redis.client() as client:
                while not self.ending.is_set():
                    with self.publishing:
                        if client.execute_command("PUBSUB", "NUMPAT") == 1:
                            self.publish(client, batch)
                    time.sleep(batch / self.per_second)
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error

    def next_life(self):
        with self.publishing:
            self.life += 1

    def finish(self):
        self.ending.set()
        self.thread.join()
        if self.failure:
            raise self.failure


def spooled(run, **more):
    return {"source.pubsub": {"spool_dir": run.directory / "spool", "spool_segment_bytes": MIB, **more}}


def all_appended(tap, count):
    return tap.wait(lambda m: m("cbtap_spool_appended_total") >= count, what=f"{count} messages to be appended")


def first_seen(fleet, records):
    """Sensor and number of each event that arrived; the first time that they did, they came in order."""
    seen, last = set(), {}
    for record in records:
        event = (int(record["key"]), int(re.search(rb'"timestamp":(\d+)', record["payload"])[1]) - fleet.first_unix)
        if event in seen:
            continue
        assert last.get(event[0], -1) < event[1], f"{event} came after {last[event[0]]}"
        last[event[0]] = event[1]
        seen.add(event)
    return seen


def test_kill_9_loses_nothing_that_was_appended(run, redis, kafka, pb, scale):
    """Three times, at a random moment amid reading. Of what Redis gave to one life, what was read is a beginning: so
    nothing is missing but at the end, and never so much that it was counted as appended before the blow."""
    fleet = Fleet(pb, sensors=20)
    tap = run.tap(kafka, redis=redis, **spooled(run), **{"sink.kafka": {"kafka.linger.ms": 50}}).start()
    load = Load(redis, fleet, per_second=scale(8000))
    dice = random.Random(20)
    appended = []
    try:
        for life in range(3):
            all_appended(tap, scale(1000))
            if life == 1:
                kafka.pause()
            time.sleep(dice.random())
            appended.append(int(tap.metrics()("cbtap_spool_appended_total")))
            tap.kill()
            until(lambda: redis.subscribers() == 0, 10, "Redis to see the end")
            kafka.resume()
            load.next_life()
            tap.start()
        all_appended(tap, scale(1000))
    finally:
        load.finish()
    appended.append(sum(life == 3 for _, _, life in load.given))
    all_appended(tap, appended[3])
    metrics = tap.wait(lambda m: m("cbtap_spool_messages") == 0 and m.at_rest(), what="the spool to be empty")
    metrics.assert_balance_at_rest()
    assert metrics("cbtap_dropped_frames_total") == 0
    assert metrics("cbtap_source_received_frames_total") == appended[3] + metrics("cbtap_spool_replayed_total")

    records = kafka.records(run.topic)
    seen = first_seen(fleet, records)
    for life in range(4):
        arrived = [(sensor, number) in seen for sensor, number, of in load.given if of == life]
        read = arrived.index(False) if False in arrived else len(arrived)
        assert not any(arrived[read:]), f"life {life}: {read} of {len(arrived)}, then a hole"
        assert read >= appended[life], f"life {life}: {read} arrived of {appended[life]} that were on disk"
        print(f"life {life}: given {len(arrived)}, on disk {appended[life]} at least, arrived {read}")
    print(f"{len(records) - len(seen)} of {len(records)} records are repeats")


def test_a_torn_tail_is_cut_and_told(run, redis, kafka, pb):
    fleet = Fleet(pb, sensors=1)
    tap = run.tap(kafka, redis=redis, **spooled(run)).start()
    kafka.pause()
    with redis.client() as client:
        for _ in range(10):
            assert client.publish(CHANNEL, fleet.record(100, with_env=True)) == 1
    all_appended(tap, 10)
    tap.kill()
    segments = sorted((run.directory / "spool").glob("*.spool"))
    with open(segments[-1], "ab") as f:
        f.write(b"\x40\x01\x00")
    kafka.resume()
    tap.start()
    tap.wait_log(r"^warning the end of the spool was torn.* bytes=3")
    metrics = tap.wait(lambda m: m("cbtap_spool_messages") == 0 and m.at_rest(), what="the spool to be empty")
    assert metrics("cbtap_spool_replayed_total") == 10 and metrics("cbtap_source_received_frames_total") == 10
    # What the first life had sent may have waited in Kafka's socket.
    fleet.check(kafka.records(run.topic), duplicates=True)


def test_kafka_away_for_longer_than_the_budget_lasts_loses_nothing(run, redis, kafka, pb, scale):
    limit = 4 * MIB
    fleet = Fleet(pb, sensors=20)
    tap = run.tap(kafka, redis=redis, cbtap={"inflight_bytes": limit}, **spooled(run)).start()
    with redis.client() as client:
        client.publish(CHANNEL, fleet.record(100, with_env=True))
        tap.wait_rest(frames=1)
    kafka.pause()
    load = Load(redis, fleet, per_second=scale(20_000))
    try:
        # Twice as many bytes on disk as the budget has in memory, of which bodies may take half.
        metrics = tap.wait(lambda m: m("cbtap_spool_bytes") > 2 * limit, 90, "the spool to grow")
    finally:
        load.finish()
    assert metrics("cbtap_inflight_bytes") <= limit + OVERDRAWN_BYTES_MAX
    assert metrics("cbtap_spool_messages") > metrics("cbtap_inflight_frames") > 0
    sent = len(load.given) + 1
    all_appended(tap, sent)
    kafka.resume()
    tap.wait_rest(frames=sent, timeout_s=90)
    # What the spool holds is told right behind what is settled.
    metrics = tap.wait(lambda m: m("cbtap_spool_messages") == 0 and m("cbtap_spool_bytes") <= MIB, what="the spool to be empty")
    assert metrics("cbtap_dropped_frames_total") == 0 and metrics("cbtap_source_connects_total") == 1
    assert metrics("cbtap_source_settled_frames_total") == sent
    assert fleet.check(kafka.records(run.topic)) == 0


@pytest.mark.without("address", "thread")
def test_two_daemons_on_one_spool_dir_is_an_error(run, redis, kafka):
    first = run.tap(kafka, redis=redis, **spooled(run)).start()
    second = run.tap(kafka, redis=redis, **spooled(run))
    try:
        second.start(ready=False)
    except AssertionError:
        pass  # it has ended before it was seen to listen
    assert second.process.wait(20) == 2
    second.wait_log(r"^error .*spool_dir = .*in use by another cbtap")
    second.discard()
    assert first.alive() and first.get("/readyz")[0] == 200
