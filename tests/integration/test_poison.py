# SPDX-License-Identifier: MIT
"""A message of which the daemon really dies: it is found, set aside whole, and what is beside it goes through."""
import os
import signal

import pytest

from bus import Publisher, wait_drained
from events import Fleet, bundle_of
from process import until

TRIES = 3
DIED = "died while it decoded this message"


def with_a_bug(tap):
    """The same daemon, which aborts where it decodes a marker: see tests/lib/crash_on_marker.c."""
    tap.binary += "-crashing"
    assert os.path.exists(tap.binary), f"no {tap.binary}: build the tests"
    return tap


def bad_bundle(pb):
    fleet = Fleet(pb, sensors=1)
    records = [fleet.record(100), fleet.record(100)]
    event = pb.CbEventMsg.FromString(records[1])
    event.header.process_path = b"c:\\-crash-the-decoder-"
    return bundle_of([records[0], event.SerializeToString()])


@pytest.mark.without("address", "thread")  # an abort says nothing to them
def test_what_ends_the_daemon_is_a_dead_letter_after_poison_tries(run, rabbitmq, kafka, pb):
    fleet, bad = Fleet(pb, sensors=2), bad_bundle(pb)
    tap = with_a_bug(run.tap(kafka, rabbitmq, **{"source.bus": {"poison_tries": TRIES}})).start()
    with Publisher(rabbitmq) as publisher:
        publisher.raw(fleet.bundle(101, 20), {"sensorId": 101})
        publisher.raw(bad, {"sensorId": 100}, "application/protobuf")
        publisher.raw(fleet.bundle(100, 20), {"sensorId": 100})
    tap.wait_crash(signal.SIGABRT)
    for _ in range(TRIES - 1):
        tap.launch()
        tap.wait_crash(signal.SIGABRT)
    tap.start()
    # Two messages or three: the first was acknowledged in an earlier life, or was not.
    metrics = wait_drained(tap, rabbitmq, pb)
    assert metrics("cbtap_decode_dead_letters_total", reason="poison") == 1
    assert metrics("cbtap_decode_dead_letters_total") == 1
    assert metrics("cbtap_sink_delivered_dead_letters_total") == 1

    dead = kafka.records(run.dead_topic)
    assert [record["payload"] for record in dead] == [bad]
    assert dead[0]["headers"]["reason"] == "poison" and dead[0]["headers"]["sensor_id"] == "100"
    fleet.check(kafka.records(run.topic), duplicates=True)
    log = tap.log()
    assert [log.count(f"bytes={len(bad)} tries={tries}\n") for tries in range(1, TRIES)] == [1] * (TRIES - 1), log
    assert log.count("poison: the message is not decoded again but becomes a dead letter") == 1, log
    tap.stop()

    # Nothing is left of it: neither a suspect nor the message.
    said = len(tap.log())
    tap.start()
    assert DIED not in tap.log()[said:] and tap.metrics()("cbtap_source_received_frames_total") == 0


def test_without_a_journal_of_its_own_the_daemon_says_so_and_works(run, rabbitmq, kafka, pb):
    fleet = Fleet(pb, sensors=1)
    first = run.tap(kafka, rabbitmq, cbtap={"state_dir": run.directory / "state"}).start()
    assert "no poison journal" not in first.log()
    second = run.tap(kafka, rabbitmq, cbtap={"state_dir": run.directory / "state"}).start()
    second.wait_log(r"^warning no poison journal: .*another cbtap uses it")
    first.stop()
    third = run.tap(kafka, rabbitmq, cbtap={"state_dir": "/dev/null"}).start()
    third.wait_log(r"^warning no poison journal: .*state_dir /dev/null: cannot be opened: Not a directory")
    second.stop()
    with Publisher(rabbitmq) as publisher:
        publisher.raw(fleet.bundle(100, 3), {"sensorId": 100})
    third.wait_rest(frames=1)
    fleet.check(kafka.records(run.topic))


@pytest.mark.without("address", "thread")
def test_a_part_of_an_archived_file_that_ends_the_daemon_is_a_dead_letter(run, kafka, pb):
    tree, fleet, bad = run.directory / "archive", Fleet(pb, sensors=2), bad_bundle(pb)
    (tree / "100").mkdir(parents=True)
    (tree / "100" / "a.log").write_bytes(bad)
    (tree / "100" / "b.log").write_bytes(fleet.bundle(100, 20))
    os.utime(tree / "100" / "a.log", (1_600_000_000,) * 2)
    tap = with_a_bug(run.tap(kafka, **{"source.old": {"type": "archive", "path": tree, "quiet_ms": 0, "after": "remove",
                                                      "checkpoint": run.directory / "archive.checkpoint"}}))
    for _ in range(TRIES):
        tap.launch()
        tap.wait_crash(signal.SIGABRT)
        assert (tree / "100" / "a.log").exists()
    tap.start()
    metrics = tap.wait_rest(frames=2)
    assert metrics("cbtap_decode_dead_letters_total", reason="poison") == 1
    dead = kafka.records(run.dead_topic)
    assert [record["payload"] for record in dead] == [bad]
    assert dead[0]["headers"]["file"] == str(tree / "100" / "a.log")
    fleet.check(kafka.records(run.topic), duplicates=True)
    until(lambda: not any(path.is_file() for path in tree.rglob("*")), 10, "the files to be removed")
