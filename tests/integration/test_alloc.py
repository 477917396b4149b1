# SPDX-License-Identifier: MIT
"""A running daemon for which allocations fail: nothing is lost, nothing ends, and it goes on by itself."""
import io
import os
import signal
import struct
import zipfile

import pytest

from alloc import EVER, Allocations, Preloaded
from bus import Publisher, wait_drained
from events import UNIX_EPOCH_TICKS, Fleet, TICKS_PER_SECOND, zip_of
from harness import Metrics
from process import until
from proxy import Proxy

PAGES = ("/", "/status.json", "/metrics", "/healthz", "/readyz")
NOTIFICATION = b'{"docs": [{"process_name": "a.exe"}, {"process_name": "b.exe"}], "sensor_id": 100}'


def own(run, directory):
    return Allocations(directory / "allocations", os.path.join(os.path.dirname(run.binary), "cbtap-failing"))


def of_libraries(run, directory, libraries):
    preload = os.path.join(os.path.dirname(run.binary), "libcbtap-failing-preload.so")
    return Preloaded(directory / "allocations", run.binary, preload, libraries)


def start(run, allocations, kafka, rabbitmq=None, redis=None, **changes):
    changes = {"source.bus": {"events": "watchlist.#"}} | changes
    tap = run.tap(kafka, rabbitmq, redis, **changes)
    tap.binary = allocations.program
    tap.env |= allocations.env
    return tap.start()


class Rounds:
    """Some of everything that is published on the bus, again and again; what became of it."""

    def __init__(self, rabbitmq, pb):
        self.fleet = Fleet(pb, sensors=6)
        self.publisher = Publisher(rabbitmq, persistent=True, confirm=True)
        self.pb = pb
        self.frames = 0

    def publish(self, messages=1):
        for _ in range(messages):
            sensor = self.fleet.sensors[self.frames % 6]
            self.publisher.raw(self.fleet.bundle(sensor, 20), {"sensorId": sensor})
            self.publisher.raw(zip_of(self.fleet.bundle(sensor, 5)), {"sensorId": sensor})
            self.publisher.raw(zip_of(self.fleet.bundle(sensor, 5), self.fleet.bundle(sensor, 3)), {"sensorId": sensor})
            self.publisher.event("watchlist.1.hit", NOTIFICATION, "application/json")
            self.frames += 4

    def in_dead_letters(self, dead_letters):
        """The events of zips that there was no memory to read: kept whole, to be replayed."""
        for letter in dead_letters:
            assert letter["headers"]["reason"] in ("no_memory", "zip_malformed"), letter["headers"]
            with zipfile.ZipFile(io.BytesIO(letter["payload"])) as z:
                for name in z.namelist():
                    yield from self.in_bundle(z.read(name), letter["headers"]["sensor_id"])

    def in_bundle(self, bundle, sensor):
        at = 0
        while at < len(bundle):
            (length,) = struct.unpack_from("<I", bundle, at)
            event = self.pb.CbEventMsg.FromString(bundle[at + 4:at + 4 + length])
            at += 4 + length
            unix = (event.header.timestamp - UNIX_EPOCH_TICKS) // TICKS_PER_SECOND
            yield {"key": sensor, "payload": b'"timestamp":%d' % unix, "partition": 0}

    def check(self, run, kafka):
        self.publisher.close()
        records = [record for record in kafka.records(run.topic) if b'"timestamp"' in record["payload"] and
                   b"ingress.event" in record["payload"]]
        dead = list(self.in_dead_letters(kafka.records(run.dead_topic)))
        self.fleet.check(records + dead, duplicates=True, ordered=not dead)
        return len(dead)


def at_rest(tap, frames):
    """A scrape may be what gets no memory."""
    assert tap.alive(), tap.log()[-3000:]
    status, text = tap.get("/metrics")
    if status != 200:
        return False
    metrics = Metrics(text)
    return metrics("cbtap_source_received_frames_total") >= frames and metrics.at_rest()


def one_round(tap, allocations, rounds, number, last=None):
    """With that allocation failing."""
    allocations.fail(number, last)
    rounds.publish()
    for page in PAGES:
        status, text = tap.get(page)
        assert status in (0, 200) or page == "/readyz", f"{page}: {status} {text}"
    until(lambda: at_rest(tap, rounds.frames), 60 * tap.slow,
          lambda: f"rest after {allocations.where(number)}: {tap.log()[-3000:]}")


def drive(tap, allocations, rounds, exhaustive):
    """Rounds and requests in which one allocation after the other fails."""
    one_round(tap, allocations, rounds, 0)
    numbers = allocations.numbers(exhaustive)
    if isinstance(allocations, Preloaded):
        print("libraries allocate", allocations.calls, "times a round")
    else:
        print("a round allocates at", sorted({allocations.where(number).split("(", 1)[1] for number in numbers}))
    for number in numbers:
        one_round(tap, allocations, rounds, number)
    # A round may end before it comes to its allocation, which would then be one of what the test asks for next.
    allocations.fail(0)
    return len(numbers)


@pytest.mark.without("thread")
def test_own_allocation_that_fails_while_it_works(run, rabbitmq, kafka, pb, tmp_path, exhaustive):
    allocations = own(run, tmp_path)
    tap = start(run, allocations, kafka, rabbitmq)
    rounds = Rounds(rabbitmq, pb)
    failed = drive(tap, allocations, rounds, exhaustive)
    assert failed > 0
    wait_drained(tap, rabbitmq, pb)
    dead = rounds.check(run, kafka)
    print(f"{failed} allocations failed, {dead} events in dead letters")


@pytest.mark.without("address", "thread")
def test_allocation_of_a_library_that_fails_while_it_works(run, rabbitmq, kafka, pb, tmp_path, exhaustive):
    allocations = of_libraries(run, tmp_path, "librabbitmq libzip libdeflate libmicrohttpd libsystemd")
    tap = start(run, allocations, kafka, rabbitmq)
    rounds = Rounds(rabbitmq, pb)
    failed = drive(tap, allocations, rounds, exhaustive)
    # What came twice, over a lost connection, may have made up for what has yet to come.
    wait_drained(tap, rabbitmq, pb)
    dead = rounds.check(run, kafka)
    print(f"{failed} allocations failed, {dead} events in dead letters")


@pytest.mark.without("thread")
def test_no_memory_for_a_while_costs_time_and_nothing_else(run, rabbitmq, kafka, pb, tmp_path):
    """From some allocation on there is no memory; what does not need any goes on, the rest waits until there is."""
    allocations = own(run, tmp_path)
    tap = start(run, allocations, kafka, rabbitmq)
    rounds = Rounds(rabbitmq, pb)
    for number in (1, 3):
        allocations.fail(number, EVER)
        rounds.publish(100)
        until(lambda: allocations.failed > 20, 60 * tap.slow, lambda: f"allocations: {allocations.calls}, {tap.log()[-3000:]}")
        allocations.fail(0)
        tap.wait_rest(rounds.frames)
    assert tap.metrics()("cbtap_source_connects_total") == 1
    rounds.check(run, kafka)


@pytest.mark.without("thread")
def test_reload_without_memory_keeps_the_old_configuration(run, rabbitmq, kafka, pb, tmp_path, exhaustive):
    allocations = own(run, tmp_path)
    tap = start(run, allocations, kafka, rabbitmq)

    def reload(number):
        """Whether it was loaded."""
        said = len(tap.log())
        allocations.fail(number)
        tap.process.signal(signal.SIGHUP)
        tap.wait_log("the configuration was not loaded again|configuration loaded again", after=said)
        return "info configuration loaded again" in tap.log()[said:]

    assert reload(0)
    numbers = allocations.numbers(exhaustive)
    loaded = [number for number in numbers if reload(number)]
    print(f"{len(numbers)} reloads with an allocation that fails, loaded all the same: {[allocations.where(n) for n in loaded]}")
    assert reload(0)
    rounds = Rounds(rabbitmq, pb)
    rounds.publish()
    tap.wait_rest(rounds.frames)
    rounds.check(run, kafka)


@pytest.mark.without("thread")
def test_dead_letter_without_memory_waits_for_its_file(run, rabbitmq, kafka, pb, tmp_path):
    allocations = own(run, tmp_path)
    tap = start(run, allocations, kafka, rabbitmq, **{"sink.kafka": {"dead_letter_topic": ""}})
    allocations.fail(1, EVER)
    with Publisher(rabbitmq) as publisher:
        publisher.raw(b"\1", {"sensorId": 100})
        until(lambda: allocations.failed > 20, 60 * tap.slow, lambda: f"allocations: {allocations.calls}")
        allocations.fail(0)
        tap.wait(lambda m: m("cbtap_inflight_events") == 1 or m.at_rest(), what="the dead letter to be on its way")
    tap.wait_rest(frames=1)
    assert len([name for name in os.listdir(run.dead_dir) if name.endswith(".bin")]) == 1


@pytest.fixture
def proxies(rabbitmq, redis):
    both = Proxy(rabbitmq.port), Proxy(redis.port)
    yield both
    for proxy in both:
        proxy.close()


@pytest.mark.without("address", "thread")
def test_allocation_of_a_library_that_fails_while_it_connects_again(run, rabbitmq, redis, kafka, pb, tmp_path, proxies, exhaustive):
    allocations = of_libraries(run, tmp_path, "librabbitmq libhiredis")
    amqp, pubsub = proxies
    tap = start(run, allocations, kafka, rabbitmq, redis, **{
        "source.bus": {"url": rabbitmq.url.replace(str(rabbitmq.port), str(amqp.port)), "events": "watchlist.#"},
        "source.pubsub": {"port": pubsub.port, "channels": "ingress.event.netconn"}})
    rounds = Rounds(rabbitmq, pb)

    def connect_again(number, last=None):
        before = tap.metrics()
        allocations.fail(number, last)
        amqp.drop()
        pubsub.drop()
        if last:
            until(lambda: allocations.failed > 5, 60, lambda: f"allocations: {allocations.calls}")
            allocations.fail(0)
        rounds.publish()
        tap.wait(lambda m: m.at_rest() and all(
            m("cbtap_source_connected", source=source) == 1 and
            m("cbtap_source_connects_total", source=source) > before("cbtap_source_connects_total", source=source)
            for source in ("bus", "pubsub")), what=f"both connections after {number}")

    connect_again(0)
    # Each waits for the pause between two tries to connect.
    numbers = allocations.numbers(exhaustive)[::1 if exhaustive else 2]
    for number in numbers:
        connect_again(number)
    connect_again(1, EVER)
    # It may have been at rest before it got what was published.
    wait_drained(tap, rabbitmq, pb)
    rounds.check(run, kafka)
    print(f"{len(numbers)} allocations failed")
