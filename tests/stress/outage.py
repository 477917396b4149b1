#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Kafka stopped for a minute amid a load, and cbtap killed amid a load, with real RabbitMQ and Kafka.

The load generator publishes persistent bundles; cbtap-loadgen verify, which reads Kafka on its own, must find nothing
missing and nothing out of order. Memory is watched all the time. Prints what was seen; exit status 1 when a promise broke.

usage: tests/stress/outage.py [--build build/release] [--away-s 60] [--kills 5] [--events 2000000]
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tests", name) for name in ("services", "integration")]

from harness import Cbtap  # noqa: E402
from kafka_service import Kafka  # noqa: E402
from process import until  # noqa: E402
from rabbitmq_service import RabbitMQ  # noqa: E402

INFLIGHT_BYTES = 64 << 20


class Memory(threading.Thread):
    """The largest resident memory and the largest bytes in flight that the daemon shows."""

    def __init__(self, tap):
        super().__init__(daemon=True)
        self.tap, self.rss, self.inflight = tap, 0, 0
        self.done = threading.Event()

    def run(self):
        while not self.done.wait(0.2):
            try:
                self.rss = max(self.rss, self.tap.memory_bytes())
                self.inflight = max(self.inflight, int(self.tap.metrics()("cbtap_inflight_bytes")))
            except (AssertionError, OSError, AttributeError, ValueError):
                pass  # between two lives


def make_tap(options, directory, rabbitmq, kafka, topic):
    return Cbtap(os.path.join(options.build, "bin/cbtap"), directory, {
        "cbtap": {"http_listen": "127.0.0.1:0", "inflight_bytes": INFLIGHT_BYTES},
        "source.bus": {"type": "amqp", "url": rabbitmq.url, "queue": topic, "events": ""},
        "sink.kafka": {"type": "kafka", "topic": topic, "kafka.bootstrap.servers": kafka.bootstrap,
                       "dead_letter_dir": os.path.join(directory, "dead")},
    })


def publish(options, rabbitmq, rate):
    return subprocess.Popen([os.path.join(options.build, "bin/cbtap-loadgen"), "publish", "--amqp", rabbitmq.url,
                             "--shape", "bundle", "--events-per-message", "100", "--events", str(options.events),
                             "--persistent", "--confirm", "--quiet", "--rate", str(int(rate))], stdout=subprocess.PIPE)


def verify(options, kafka, topic):
    done = subprocess.run([os.path.join(options.build, "bin/cbtap-loadgen"), "verify", "--kafka", kafka.bootstrap,
                           "--topic", topic, "--shape", "bundle", "--events-per-message", "100", "--events",
                           str(options.events), "--expect", str(options.events), "--quiet"],
                          stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode == 0, done.stdout.splitlines()[0] if done.stdout else ""


def run_case(options, name, rabbitmq, kafka, disturb):
    with tempfile.TemporaryDirectory(prefix="cbtap-outage-") as directory:
        tap = make_tap(options, directory, rabbitmq, kafka, name).start()
        memory = Memory(tap)
        memory.start()
        load = publish(options, rabbitmq, rate=options.events / (options.away_s / 2 + 20))
        seen = disturb(tap, kafka)
        assert load.wait() == 0, "the load generator failed"
        until(lambda: tap.metrics().at_rest(), 300, "cbtap to be at rest")
        good, summary = verify(options, kafka, name)
        memory.done.set()
        memory.join()
        tap.stop()
        log = tap.log()
        tap.discard()
    if options.log:
        print(log)
    print(f"{name}: {seen}\n  verify: {summary}\n  resident memory at most {memory.rss / 1e6:.0f} MB, in flight at most "
          f"{memory.inflight / 1e6:.1f} MB of {INFLIGHT_BYTES / 1e6:.1f} MB: {'ok' if good else 'BROKEN'}", flush=True)
    return good and memory.inflight <= INFLIGHT_BYTES * 1.02


def stop_kafka(options):
    def disturb(tap, kafka):
        tap.wait(lambda m: m("cbtap_sink_delivered_records_total") > options.events / 20, what="a load")
        kafka.stop()
        began = time.monotonic()
        while time.monotonic() - began < options.away_s:
            assert tap.alive(), "cbtap ended"
            tap.get("/metrics")
            time.sleep(0.5)
        kafka.start()
        back = time.monotonic()
        before = tap.metrics()("cbtap_sink_delivered_records_total")
        tap.wait(lambda m: m("cbtap_sink_delivered_records_total") > before, what="deliveries to go on")
        return f"Kafka away for {options.away_s} s, deliveries went on {time.monotonic() - back:.2f} s after it was back"
    return disturb


def kill_cbtap(options):
    def disturb(tap, _kafka):
        for life in range(options.kills):
            tap.wait(lambda m: m("cbtap_sink_delivered_records_total") > options.events / 40, what="a load")
            tap.kill()
            tap.start()
        return f"cbtap killed {options.kills} times with SIGKILL; {len(re.findall('info started', tap.log()))} lives"
    return disturb


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build/release"))
    parser.add_argument("--away-s", type=float, default=60)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--events", type=int, default=2000000)
    parser.add_argument("--log", action="store_true", help="print cbtap's log, too")
    options = parser.parse_args()
    with RabbitMQ() as rabbitmq, Kafka() as kafka:
        rabbitmq.declare_exchanges()
        good = [run_case(options, "kafka-away", rabbitmq, kafka, stop_kafka(options)),
                run_case(options, "cbtap-killed", rabbitmq, kafka, kill_cbtap(options))]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
