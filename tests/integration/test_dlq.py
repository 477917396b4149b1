# SPDX-License-Identifier: MIT
"""Dead letters in a real Kafka: listed, shown, and sent through again when what refused them is out of the way."""
import json
import subprocess

from bus import Publisher
from events import Fleet, bundle_of


def dlq(tap, *words, changes=()):
    """`cbtap dlq WORDS` with the configuration of a daemon that ran; its standard output and exit status."""
    argv = [tap.binary, "dlq", *words, "-c", tap.config, *(part for change in changes for part in ("-s", change))]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60 * tap.slow, env=tap.env,
                          check=False)
    return done.stdout, done.returncode, done.stderr


def test_a_record_refused_for_a_limit_is_replayed_under_a_larger_one(run, rabbitmq, kafka, pb):
    fleet = Fleet(pb, sensors=1)
    small = fleet.record(100)
    large = pb.CbEventMsg.FromString(fleet.record(100))
    large.header.process_path = b"x" * 4000
    large = large.SerializeToString()
    tap = run.tap(kafka, rabbitmq, decode={"record_max_bytes": 2048}).start()
    with Publisher(rabbitmq) as publisher:
        publisher.raw(bundle_of([small, large, b"\xff\xff\xff"]), {"sensorId": 100, "sensorHostName": "host-100"})
    tap.wait_rest(frames=1)
    tap.stop()

    out, status, err = dlq(tap, "list", "--format", "json")
    letters = [json.loads(line) for line in out.splitlines()]
    assert status == 0, err
    assert sorted(letter["reason"] for letter in letters) == ["malformed", "record_too_large"], out
    where = next(letter["where"] for letter in letters if letter["reason"] == "record_too_large")
    assert dlq(tap, "show", where)[1] == 0
    assert "record_too_large" in dlq(tap, "show", where)[0]

    out, status, err = dlq(tap, "replay", "--all", changes=["decode.record_max_bytes=16777216"])
    assert status == 1, err  # the other one is poison still
    events = [json.loads(record["payload"]) for record in kafka.records(run.topic)]
    assert [event["process_path"] == 4000 * "x" for event in events] == [False, True]
    assert all(event["computer_name"] == "host-100" for event in events)
    dead = kafka.records(run.dead_topic)
    replays = {record["headers"].get("replays") for record in dead if record["payload"] == b"\xff\xff\xff"}
    assert replays == {None, "1"} and len(dead) == 3
