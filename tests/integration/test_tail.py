# SPDX-License-Identifier: MIT
"""cbtap tail: live events beside the daemon, and nothing left behind on the bus."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time

import pika
import pytest

sys.path.append(os.path.join(os.path.dirname(__file__), "..", "stress"))

from bus import Publisher  # noqa: E402
from events import Fleet, marker  # noqa: E402
from process import until  # noqa: E402
from proxy import Proxy  # noqa: E402

pytestmark = pytest.mark.without("thread")


class Tail:
    """One `cbtap tail`, whose output is read as it comes, unless it is not to be."""

    def __init__(self, tap, *options, read=True, stdout=subprocess.PIPE):
        self.log_path = os.path.join(tap.dir, f"tail-{id(self)}.log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([tap.binary, "tail", "-c", tap.config, *options], stdout=stdout, stderr=log, env=tap.env)
        self.lines = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        if read and stdout == subprocess.PIPE:
            self.reader.start()
        self.wait_log("listening")

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line.decode())

    def log(self):
        with open(self.log_path, encoding="utf-8") as log:
            return log.read()

    def wait_log(self, pattern):
        return until(lambda: re.search(pattern, self.log()), 30, lambda: f"{pattern} in:\n{self.log()}")

    def wait_lines(self, count):
        until(lambda: len(self.lines) >= count, 30, lambda: f"{count} lines, there are {len(self.lines)}:\n{self.log()}")

    def times(self):
        return sorted((event["sensor_id"], event["timestamp"]) for event in map(json.loads, self.lines))

    def queue(self):
        return re.findall(r"queue (cbtap-tail-[0-9a-f]+)", self.log())[-1]

    def end(self, number=None, expected=0):
        if number is not None:
            self.process.send_signal(number)
        assert self.process.wait(30) == expected, self.log()
        if self.reader.ident:
            self.reader.join(30)


def is_gone(rabbitmq, queue):
    """The broker says 404 of a queue that is not there, and 405 of one that is another connection's own."""
    connection = rabbitmq.connect()
    try:
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as refused:
            connection.channel().queue_declare(queue, passive=True)
        return refused.value.reply_code == 404
    finally:
        connection.close()


def config_of(run, kafka, rabbitmq=None, redis=None, **changes):
    """A configuration on disk, of a daemon that does not run."""
    tap = run.tap(kafka, rabbitmq, redis, **changes)
    with open(tap.config, "w", encoding="utf-8") as f:
        for section, keys in tap.sections.items():
            f.write(f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items()))
    return tap


def terminal(columns):
    """Both ends of one."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    return ours, theirs


def read_line(tail, ours):
    line = b""
    while not line.endswith(b"\n"):
        assert select.select([ours], [], [], 30)[0], f"no line, status {tail.process.poll()}:\n{tail.log()}"
        line += os.read(ours, 4096)
    return line.decode()


def test_everybody_gets_every_event_and_no_queue_stays(run, rabbitmq, kafka, pb):
    fleet = Fleet(pb, sensors=3)
    tap = run.tap(kafka, rabbitmq).start()
    stopped, killed = Tail(tap, "--format", "json"), Tail(tap, "--format", "json")
    counted = Tail(tap, "--format", "json", "-n", "4")
    queues = [tail.queue() for tail in (stopped, killed, counted)]
    assert len(set(queues)) == 3 and not any(is_gone(rabbitmq, queue) for queue in queues)
    with Publisher(rabbitmq) as publisher:
        for sensor in fleet.sensors:
            publisher.raw(fleet.bundle(sensor, 5), {"sensorId": sensor})
    tap.wait_rest(frames=3)
    stopped.wait_lines(15)
    killed.wait_lines(15)
    counted.end()
    assert len(counted.lines) == 4
    stopped.end(signal.SIGINT)
    killed.end(signal.SIGKILL, -signal.SIGKILL)
    for tail in (stopped, killed):
        assert tail.times() == [(sensor, fleet.first_unix + number) for sensor in fleet.sensors for number in range(5)]
    for queue in queues:
        until(lambda queue=queue: is_gone(rabbitmq, queue), 10, f"{queue} to be gone")
    fleet.check(kafka.records(run.topic))


def test_filters_choose_by_type_and_host(run, rabbitmq, kafka, pb):
    fleet = Fleet(pb, sensors=2)
    tap = config_of(run, kafka, rabbitmq, **{"source.bus": {"raw": "false", "events": "ingress.event.#,watchlist.#"}})
    tail = Tail(tap, "--host", "HOST-1*1", "--type", "filemod,watchlist.*")
    with Publisher(rabbitmq) as publisher:
        for sensor in fleet.sensors:
            publisher.event("watchlist.1.hit", b"{}", "application/json")
            publisher.event("watchlist.1.hit", b"[", "application/json")
            publisher.event("ingress.event.filemod", fleet.record(sensor, with_env=True))
            publisher.event("watchlist.1.hit", json.dumps({"hostname": f"host-{sensor}", "watchlist_name": "evil\x1b[2J"}),
                            "application/json")
    tail.wait_lines(2)
    tail.end(signal.SIGTERM)
    assert len(tail.lines) == 2 and all("host-101" in line for line in tail.lines), tail.lines
    assert " filemod " in tail.lines[0] and "evil\ufffd[2J" in tail.lines[1]
    assert "left_out=2" in tail.log()
    wrong = subprocess.run([tap.binary, "tail", "-c", tap.config, "--type", "filemodd"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and "--type" in wrong.stderr
    wrong = subprocess.run([tap.binary, "tail", "-c", tap.config, "--source", "none"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and "no [source.NAME]" in wrong.stderr


@pytest.mark.without("address")
def test_what_a_slow_reader_does_not_take_is_skipped_and_counted(run, rabbitmq, kafka, pb):
    fleet = Fleet(pb, sensors=1)
    tap = config_of(run, kafka, rabbitmq)
    tail = Tail(tap, "--format", "json", read=False)
    other = Tail(tap, "-n", "20000", stdout=subprocess.DEVNULL)
    with Publisher(rabbitmq) as publisher:
        for _ in range(20):
            publisher.raw(fleet.bundle(100, 1000), {"sensorId": 100})
    # The pipe is full, and what waits in cbtap, too: all the rest is skipped, and known to be when it can be told.
    # The broker feeds both queues alike; what the first is sent after this is counted all the same.
    other.end()
    tail.reader.start()
    markers = 0
    with Publisher(rabbitmq) as publisher:
        def comes_through():
            nonlocal markers
            publisher.raw(marker(pb), {"sensorId": 1})
            markers += 1
            return any("event.tamper" in line for line in tail.lines[-markers:])

        # The first ones may be skipped, too. After one that was not, all that was sent before the last is accounted for.
        until(comes_through, 30, lambda: f"a marker to come through:\n{tail.log()}", 0.1)
        publisher.raw(marker(pb), {"sensorId": 999})
        markers += 1
    until(lambda: '"sensor_id":999,' in tail.lines[-1], 30, lambda: f"the last marker:\n{tail.log()}")
    tail.wait_log("events are skipped")
    tail.end(signal.SIGINT)
    shown, skipped = map(int, re.search(r"shown=(\d+) skipped=(\d+)", tail.log()).groups())
    assert skipped > 0 and shown + skipped == 20_000 + markers
    assert len(tail.lines) == shown


def test_a_message_that_is_too_large_is_left_out(run, rabbitmq, kafka, pb):
    fleet = Fleet(pb, sensors=2)
    tap = config_of(run, kafka, rabbitmq, cbtap={"frame_max_bytes": 65536})
    tail = Tail(tap, "--format", "json")
    with Publisher(rabbitmq) as publisher:
        publisher.raw(b"", {"sensorId": 1})
        publisher.raw(fleet.bundle(100, 2000), {"sensorId": 100})
        publisher.raw(fleet.bundle(101, 1), {"sensorId": 101})
    tail.wait_lines(1)
    tail.end(signal.SIGINT)
    assert tail.times() == [(101, fleet.first_unix)]
    assert "left_out=2" in tail.log()


def test_a_reader_that_leaves_ends_it_quietly(run, rabbitmq, kafka, pb):
    tap = config_of(run, kafka, rabbitmq)
    tail = Tail(tap, "--format", "json", read=False)
    # Nothing has to come for that.
    tail.process.stdout.close()
    tail.end()
    assert "error" not in tail.log()
    until(lambda: is_gone(rabbitmq, tail.queue()), 10, "the queue to be gone")


def test_a_broker_that_goes_away_is_tried_again(run, rabbitmq, kafka, pb):
    fleet = Fleet(pb, sensors=1)
    proxy = Proxy(rabbitmq.port)
    tap = config_of(run, kafka, rabbitmq, **{"source.bus": {"url": rabbitmq.url.replace(str(rabbitmq.port), str(proxy.port))}})
    tail = Tail(tap, "--format", "json")
    for connection in proxy.connections:
        connection.close()
    tail.wait_log("lost the connection")
    tail.wait_log("connected again")
    with Publisher(rabbitmq) as publisher:
        publisher.raw(fleet.bundle(100, 1), {"sensorId": 100})
    tail.wait_lines(1)
    tail.end(signal.SIGINT)
    proxy.close()


SLOW_S = 5  # between two tries of what was refused


def test_a_password_that_was_changed_is_said_tried_slowly_and_taken_up(run, rabbitmq, kafka, pb, tmp_path):
    fleet = Fleet(pb, sensors=1)
    proxy = Proxy(rabbitmq.port)  # knows how often it is tried
    cb_conf = tmp_path / "cb.conf"
    cb_conf.write_text(f"RabbitMQUser=tail\nRabbitMQPassword=before\nRabbitMQPort={proxy.port}\n")
    rabbitmq.ctl("add_user", "tail", "before")
    rabbitmq.ctl("set_permissions", "tail", ".*", ".*", ".*")
    try:
        tap = config_of(run, kafka, rabbitmq, **{"source.bus": {"url": None, "cb_conf": cb_conf}})
        tail = Tail(tap, "--format", "json")
        rabbitmq.ctl("change_password", "tail", "after")
        dropped_at = time.monotonic()  # and not when the first try was seen, which may be late
        proxy.drop()
        tail.wait_log("warning cannot connect, trying again .*403 ACCESS_REFUSED.*cb_conf")
        until(lambda: len(proxy.connections) > 1, 30, "another try")
        assert time.monotonic() - dropped_at > SLOW_S
        assert tail.process.poll() is None and tail.log().count("cannot connect") == 1, tail.log()
        cb_conf.write_text(cb_conf.read_text().replace("before", "after"))
        tail.wait_log("connected again")
        with Publisher(rabbitmq) as publisher:
            publisher.raw(fleet.bundle(100, 1), {"sensorId": 100})
        tail.wait_lines(1)
        tail.end(signal.SIGINT)
        assert not re.search("before|after", tail.log())
    finally:
        rabbitmq.ctl("delete_user", "tail")
        proxy.close()


@pytest.mark.without("address")
def test_a_queue_that_is_about_full_on_the_broker_is_said(run, rabbitmq, kafka, pb):
    """More than 16 MiB wait behind a slow network, of which the broker keeps the newest."""
    bundle = Fleet(pb, sensors=1).bundle(100, 80)
    proxy = Proxy(rabbitmq.port)
    tap = config_of(run, kafka, rabbitmq, **{"source.bus": {"url": rabbitmq.url.replace(str(rabbitmq.port), str(proxy.port))}})
    tail = Tail(tap, "--format", "json", stdout=subprocess.DEVNULL)
    proxy.bytes_per_second = 1 << 20
    with Publisher(rabbitmq) as publisher:
        def about_full():
            for _ in range((1 << 20) // len(bundle)):
                publisher.raw(bundle, {"sensorId": 100})
            return re.search("warning tail's queue on the broker is about full.* messages=(\\d+)", tail.log())

        # However slowly it is published: as long as more comes than the network carries, the queue fills and stays full.
        said = until(about_full, 90, tail.log, 0.05)
    assert 12 << 20 <= int(said[1]) * len(bundle) <= 17 << 20
    proxy.bytes_per_second = 0
    tail.end(signal.SIGINT)
    proxy.close()


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_gets_colours_to_its_width_and_is_left_as_it_was(run, rabbitmq, kafka, pb, no_color):
    fleet = Fleet(pb, sensors=1)
    tap = config_of(run, kafka, rabbitmq)
    ours, theirs = terminal(70)
    before = termios.tcgetattr(theirs), fcntl.fcntl(theirs, fcntl.F_GETFL)
    tap.env["NO_COLOR"] = no_color
    tail = Tail(tap, stdout=theirs)
    with Publisher(rabbitmq) as publisher:
        publisher.raw(fleet.bundle(100, 1), {"sensorId": 100, "sensorHostName": "host-100"})
    line = read_line(tail, ours)
    tail.end(signal.SIGINT)
    assert re.search("host-100 +filemod +1000" if no_color else "host-100 +\x1b\\[33mfilemod\x1b\\[0m +1000", line), line
    assert len(re.sub("\x1b\\[[0-9;]*m", "", line).rstrip("\r\n")) == 70
    assert (termios.tcgetattr(theirs), fcntl.fcntl(theirs, fcntl.F_GETFL)) == before
    os.close(ours)
    os.close(theirs)


def test_json_on_a_terminal_is_the_same_json_and_harmless(run, rabbitmq, kafka):
    tap = config_of(run, kafka, rabbitmq, **{"source.bus": {"raw": "false", "events": "watchlist.#"}})
    ours, theirs = terminal(70)
    tail = Tail(tap, "--format", "json", stdout=theirs)
    name = "\u00e9\u009b2J\x7f\x1b]0;x\x07\u009f\u00a0"
    with Publisher(rabbitmq) as publisher:
        publisher.event("watchlist.1.hit", json.dumps({"watchlist_name": name}, ensure_ascii=False), "application/json")
    line = read_line(tail, ours)
    tail.end(signal.SIGINT)
    assert json.loads(line)["watchlist_name"] == name
    assert not re.search("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f]", line), line
    os.close(ours)
    os.close(theirs)


def test_redis_has_a_subscriber_more_for_as_long(run, redis, kafka, pb):
    fleet = Fleet(pb, sensors=1)
    tap = run.tap(kafka, redis=redis).start()
    tail = Tail(tap, "--format", "json")
    assert redis.subscribers() == 2 or redis.subscribers() == 1  # by the number of patterns, or of clients
    with redis.client() as client:
        assert client.publish("ingress.event.filemod", fleet.record(100, with_env=True)) == 2
        tail.wait_lines(1)
        tail.end(signal.SIGINT)
        until(lambda: client.publish("ingress.event.none", b"") == 1, 10, "the subscription to be gone")
    assert tail.times() == [(100, fleet.first_unix)]
    tap.wait(lambda m: m("cbtap_sink_delivered_records_total") >= 1, what="the daemon's own copy")


def test_a_redis_that_goes_away_is_tried_again(run, redis, kafka, pb):
    fleet = Fleet(pb, sensors=1)
    tail = Tail(config_of(run, kafka, redis=redis), "--format", "json")
    with redis.client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        tail.wait_log("lost the connection")
        tail.wait_log("connected again")
        assert client.publish("ingress.event.filemod", fleet.record(100, with_env=True)) == 1
    tail.wait_lines(1)
    tail.end(signal.SIGINT)


def test_the_servers_own_file_gives_the_credentials(run, rabbitmq, kafka, tmp_path):
    url = pika.URLParameters(rabbitmq.url)
    cb_conf = tmp_path / "cb.conf"
    cb_conf.write_text(f"RabbitMQUser={url.credentials.username}\nRabbitMQPassword=wrong\nRabbitMQPort={url.port}\n")
    tap = config_of(run, kafka, rabbitmq, **{"source.bus": {"url": None, "cb_conf": cb_conf}})
    refused = subprocess.run([tap.binary, "tail", "-c", tap.config], capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "cb_conf" in refused.stderr and "wrong" not in refused.stderr
    cb_conf.write_text(cb_conf.read_text().replace("wrong", url.credentials.password))
    Tail(tap).end(signal.SIGINT)
