# SPDX-License-Identifier: MIT
"""queue.single_active: of two daemons on one queue one works and the other takes over when it dies."""
from bus import Load, Publisher, wait_drained
from events import Fleet

SINGLE = {"source.bus": {"queue.single_active": "true"}}


def test_standby_takes_over_from_one_that_was_killed(run, rabbitmq, kafka, pb, scale):
    fleet = Fleet(pb, sensors=20)
    active = run.tap(kafka, rabbitmq, **SINGLE).start()
    standby = run.tap(kafka, rabbitmq, **SINGLE).start()
    load = Load(rabbitmq, fleet, events_each=20, per_second=scale(500))
    load.start()
    active.wait(lambda m: m("cbtap_sink_delivered_records_total") >= scale(10_000), what="some events to be delivered")
    metrics = standby.metrics()
    assert metrics("cbtap_source_received_frames_total") == 0, "the stand-by gets messages, too"
    assert metrics("cbtap_source_connected") == 1 and standby.get("/readyz")[0] == 200
    active.kill()
    standby.wait(lambda m: m("cbtap_sink_delivered_records_total") >= scale(10_000), what="the stand-by to take over")
    active.start()
    load.finish()
    metrics = wait_drained(standby, rabbitmq, pb)
    assert metrics("cbtap_source_connects_total") == 1
    # The one that came back is the stand-by now.
    assert active.metrics()("cbtap_source_received_frames_total") == 0
    fleet.check(kafka.records(run.topic), duplicates=True)


def test_standby_takes_over_from_one_that_stops_without_a_repeat(run, rabbitmq, kafka, pb):
    fleet = Fleet(pb, sensors=2)
    active = run.tap(kafka, rabbitmq, **SINGLE).start()
    standby = run.tap(kafka, rabbitmq, **SINGLE).start()
    with Publisher(rabbitmq) as publisher:
        publisher.raw(fleet.bundle(100, 5), {"sensorId": 100})
        active.wait_rest(frames=1)
        active.stop()
        publisher.raw(fleet.bundle(101, 5), {"sensorId": 101})
    metrics = standby.wait_rest(frames=1)
    assert metrics("cbtap_source_received_frames_total") == 1
    fleet.check(kafka.records(run.topic))


def test_queue_declared_otherwise_is_said(run, rabbitmq, kafka):
    run.tap(kafka, rabbitmq).start()
    tap = run.tap(kafka, rabbitmq, **SINGLE).start(ready=False)
    tap.wait_log(r"^warning .*declared otherwise.*x-single-active-consumer")
