# SPDX-License-Identifier: MIT
"""The sinks beside Kafka, before real peers: files, socat, rsyslog; what they have is compared with what Kafka has."""
import gzip
import shutil
import signal

import pytest

from bus import Publisher
from certificates import Authority
from events import Fleet, zip_of
from peers import as_records, rsyslog, socat
from process import tail, until


def publish(rabbitmq, fleet, bundles, events):
    with Publisher(rabbitmq, persistent=True) as publisher:
        for i in range(bundles):
            sensor = fleet.sensors[i % len(fleet.sensors)]
            publisher.raw(zip_of(fleet.bundle(sensor, events)), {"sensorId": sensor})


def delivered(tap, count, sink="out"):
    return tap.wait(lambda m: m("cbtap_sink_delivered_records_total", sink=sink) >= count and m("cbtap_inflight_frames") == 0,
                    what=f"{count} events in {sink}")


def check_both(run, kafka, fleet, lines):
    """A sink beside Kafka has what Kafka has."""
    records = kafka.records(run.topic)
    fleet.check(records)
    fleet.check(as_records(lines))
    assert sorted(lines) == sorted(r["payload"] for r in records)


def test_a_file_has_what_kafka_has(run, rabbitmq, kafka, pb):
    out = run.directory / "events.ndjson"
    fleet = Fleet(pb, sensors=3)
    tap = run.tap(kafka, rabbitmq, **{"sink.out": {"type": "file", "path": out, "rotate_bytes": 200000, "gzip": "true",
                                                   "fsync_interval_ms": 50, "dead_letter_dir": run.dead_dir}}).start()
    publish(rabbitmq, fleet, 60, 50)
    delivered(tap, fleet.total)
    delivered(tap, fleet.total, "kafka")
    tap.stop()
    closed = sorted(run.directory.glob("events.ndjson.*Z*"))
    assert len(closed) > 1
    lines = []
    for path in [*closed, out]:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        lines += data.split(b"\n")[:-1]
    check_both(run, kafka, fleet, lines)


def test_kill_9_loses_nothing_of_a_file(run, rabbitmq, kafka, pb):
    out = run.directory / "events.ndjson"
    fleet = Fleet(pb, sensors=3)
    tap = run.tap(kafka, rabbitmq, **{"sink.out": {"type": "file", "path": out, "fsync": "none", "dead_letter_dir": run.dead_dir}})
    tap.sections.pop("sink.kafka")
    tap.start()
    for _ in range(4):
        publish(rabbitmq, fleet, 100, 50)
        tap.wait(lambda m: m("cbtap_sink_delivered_records_total") > 500, what="some to be delivered")
        tap.kill()
        tap.start()
    until(lambda: len(set(out.read_bytes().split(b"\n")[:-1])) >= fleet.total, 30 * run.scale.slow, "all events in the file")
    tap.stop()
    fleet.check(as_records(out.read_bytes().split(b"\n")[:-1]), duplicates=True)


@pytest.mark.without("address", "thread")
def test_logrotate_moves_the_file_and_sends_sighup(run, rabbitmq, kafka, pb):
    out, moved = run.directory / "events.ndjson", run.directory / "events.ndjson.1"
    fleet = Fleet(pb, sensors=2)
    tap = run.tap(kafka, rabbitmq, **{"sink.out": {"type": "file", "path": out, "fsync_interval_ms": 20,
                                                   "dead_letter_dir": run.dead_dir}}).start()
    publish(rabbitmq, fleet, 10, 20)
    delivered(tap, fleet.total)
    out.rename(moved)
    tap.process.signal(signal.SIGHUP)
    until(out.exists, 20, "another file to be begun")
    publish(rabbitmq, fleet, 10, 20)
    delivered(tap, fleet.total)
    delivered(tap, fleet.total, "kafka")
    tap.stop()
    parts = [path.read_bytes().split(b"\n")[:-1] for path in (moved, out)]
    assert [len(lines) for lines in parts] == [200, 200]
    check_both(run, kafka, fleet, parts[0] + parts[1])


@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_socat_receives_what_kafka_has_over_its_restarts(run, rabbitmq, kafka, pb, kind):
    if not shutil.which("socat"):
        pytest.skip("no socat")
    fleet = Fleet(pb, sensors=3)
    listen, keys = "TCP-LISTEN:{port}", {}
    if kind == "tls":
        authority = Authority(str(run.directory), "ca")
        cert, key = authority.issue("peer", "peer", "serverAuth", "IP:127.0.0.1")
        listen, keys = f"OPENSSL-LISTEN:{{port}},cert={cert},key={key},verify=0", {"tls": "true", "tls.ca": authority.ca}
    peer = socat(run.directory, listen).start()
    tap = run.tap(kafka, rabbitmq, **{"sink.out": {"type": "tcp", "address": f"127.0.0.1:{peer.port}",
                                                   "dead_letter_dir": run.dead_dir, **keys}}).start()
    publish(rabbitmq, fleet, 30, 20)
    delivered(tap, fleet.total)
    until(lambda: len(peer.lines()) >= fleet.total, 20, "socat to write all")
    peer.stop()
    tap.wait_log(r"^error .*cannot deliver.*sink=out")
    publish(rabbitmq, fleet, 30, 20)
    peer.start()
    delivered(tap, fleet.total)
    until(lambda: len(peer.lines()) >= fleet.total, 20, "socat to write all")
    tap.stop()
    peer.stop()
    check_both(run, kafka, fleet, peer.lines())


@pytest.mark.without("address", "thread")
@pytest.mark.parametrize("protocol", ["udp", "tcp", "tls"])
def test_rsyslog_receives_what_kafka_has(run, rabbitmq, kafka, pb, protocol):
    if not shutil.which("rsyslogd", path="/usr/sbin"):
        pytest.skip("no rsyslog")
    fleet = Fleet(pb, sensors=2)
    keys, certificate = {}, None
    if protocol == "tls":
        authority = Authority(str(run.directory), "ca")
        certificate = (*authority.issue("peer", "peer", "serverAuth", "IP:127.0.0.1"), authority.ca)
        keys = {"tls.ca": authority.ca}
    peer = rsyslog(run.directory, protocol, certificate).start()
    tap = run.tap(kafka, rabbitmq, **{"sink.out": {"type": "syslog", "protocol": protocol, "address": f"127.0.0.1:{peer.port}",
                                                   "dead_letter_dir": run.dead_dir, **keys}}).start()
    publish(rabbitmq, fleet, 10, 5)  # a socket's buffer holds so many: a datagram that finds it full is lost
    delivered(tap, fleet.total)
    delivered(tap, fleet.total, "kafka")
    until(lambda: len(peer.lines()) >= fleet.total, 20, lambda: f"rsyslog to write all:\n{tail(peer.log)}")
    tap.stop()
    peer.stop()
    heads = {line[:line.index(b"{")] for line in peer.lines()}
    assert heads == {b"cbserver cbtap ingress.event.filemod "}
    check_both(run, kafka, fleet, [line[line.index(b"{"):] for line in peer.lines()])
