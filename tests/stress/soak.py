#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""An hour at the highest rate that the machine holds: does memory grow? Do descriptors?

What is in flight is memory, too, and follows the rate. So two slopes are told, of resident memory and of what it is beyond
what is in flight (`cbtap_inflight_bytes`); a leak would be in the latter, which is what is judged.

Real RabbitMQ and Kafka (which keeps the newest only) and the load generator share the machine with cbtap. Load comes in
slices; the next begins when less than one is left to deliver, so that there is always some and never more than two.

usage: tests/stress/soak.py [--minutes 60] [--build build/release] [--report docs/RELIABILITY.md]

Writes the picture soak.png beside the report. Exit status 1 where something is missing or memory grows.
"""
import argparse
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(ROOT, "tests", name) for name in ("services", "integration")]

from harness import Cbtap  # noqa: E402
from kafka_service import Kafka  # noqa: E402
from rabbitmq_service import RabbitMQ  # noqa: E402
from report import commit, machine, put_between  # noqa: E402
from services import close_all, start_all  # noqa: E402

INFLIGHT_BYTES = 64 << 20
SLICE_EVENTS = 716 * 1400
SAMPLE_S = 5
# Caches, pools and arenas have found their size by then.
WARM_UP_SHARE = 0.1
# An hour of this is less than one largest frame.
SLOPE_MAX_KIB_PER_MINUTE = 16
MARKS = ("<!-- written by tests/stress/soak.py: begin -->", "<!-- written by tests/stress/soak.py: end -->")

PLOT = """
set terminal pngcairo size 1100,640 font "sans,11"
set output "{png}"
set multiplot layout 3,1
set xrange [0:{minutes}]
set grid
set key bottom right
set ylabel "MiB"
set yrange [0:*]
plot "{data}" using 1:2 with lines lw 2 title "resident memory", "{data}" using 1:5 with lines lw 1 title "in flight"
set ylabel "descriptors"
plot "{data}" using 1:3 with lines lw 2 title "open file descriptors"
set ylabel "1,000 events/s"
set xlabel "minutes"
plot "{data}" using 1:4 with lines lw 1 title "delivered"
"""


def slope(points):
    """Of a straight line through (x, y) by least squares."""
    mean_x, mean_y = (sum(axis) / len(points) for axis in zip(*points))
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


class Soak:
    """One daemon, its load, and what was seen: (minutes, MiB, descriptors, thousand events a second, MiB in flight)."""

    def __init__(self, options, rabbitmq, kafka, directory):
        self.options, self.rabbitmq = options, rabbitmq
        self.sent = self.slices = 0
        self.load = None
        self.points = []
        self.tap = Cbtap(os.path.join(options.build, "bin/cbtap"), directory, {
            "cbtap": {"http_listen": "127.0.0.1:0", "inflight_bytes": INFLIGHT_BYTES},
            "source.bus": {"type": "amqp", "url": rabbitmq.url, "queue": "soak", "events": ""},
            "sink.kafka": {"type": "kafka", "topic": "soak", "kafka.bootstrap.servers": kafka.bootstrap,
                           "dead_letter_dir": os.path.join(directory, "dead")},
        }).start()

    def publish(self):
        """Begins the next slice where it is time."""
        if self.load is not None:
            if self.load.poll() is None:
                return
            assert self.load.returncode == 0, "the load generator failed"
        if self.sent - self.tap.metrics()("cbtap_sink_delivered_records_total") >= SLICE_EVENTS:
            return
        self.load = subprocess.Popen(
            [os.path.join(self.options.build, "bin/cbtap-loadgen"), "publish", "--amqp", self.rabbitmq.url, "--shape", "bundle",
             "--events", str(SLICE_EVENTS), "--seed", str(self.slices + 1), "--confirm", "--quiet"], stdout=subprocess.DEVNULL)
        self.slices += 1
        self.sent += SLICE_EVENTS

    def sample(self, minutes, before):
        metrics = self.tap.metrics()
        resident, now = self.tap.memory_bytes(), time.monotonic()
        delivered = metrics("cbtap_sink_delivered_records_total")
        descriptors = len(os.listdir(f"/proc/{self.tap.process.pid}/fd"))
        rate = (delivered - before[1]) / (now - before[0]) / 1000
        self.points.append((minutes, resident / 2**20, descriptors, rate, metrics("cbtap_inflight_bytes") / 2**20))
        return now, delivered

    def run(self, minutes):
        began = time.monotonic()
        before, next_sample, next_word = (began, 0), began + SAMPLE_S, began + 60
        while (now := time.monotonic()) < began + minutes * 60:
            self.publish()
            if now >= next_sample:
                before = self.sample((now - began) / 60, before)
                next_sample += SAMPLE_S
            if now >= next_word:
                _, mib, descriptors, rate, inflight = self.points[-1]
                print(f"{(now - began) / 60:.0f} min: {rate:.0f},000 events/s, {mib:.1f} MiB, {inflight:.1f} of it in flight, "
                      f"{descriptors} descriptors", flush=True)
                next_word += 60
            time.sleep(0.1)
        self.load.wait()
        self.tap.wait(lambda m: m("cbtap_sink_delivered_records_total") >= self.sent and m.at_rest(), 300, "the end of the load")
        metrics = self.tap.metrics()
        metrics.assert_balance_at_rest()
        return metrics


def plot(points, png, directory):
    data, script = os.path.join(directory, "soak.dat"), os.path.join(directory, "soak.plot")
    with open(data, "w", encoding="utf-8") as f:
        f.writelines(" ".join(f"{value:.3f}" for value in point) + "\n" for point in points)
    with open(script, "w", encoding="utf-8") as f:
        f.write(PLOT.format(png=png, data=data, minutes=points[-1][0]))
    subprocess.run(["gnuplot", script], check=True)


def judge(soak, metrics, minutes):
    """Says what was seen in words; whether it is well."""
    warm = [point for point in soak.points if point[0] > minutes * WARM_UP_SHARE]
    memory, inflight = ([point[column] for point in warm] for column in (1, 4))
    kib = slope([(point[0], point[1] * 1024) for point in warm])
    beyond_kib = slope([(point[0], (point[1] - point[4]) * 1024) for point in warm])
    delivered = metrics("cbtap_sink_delivered_records_total")
    descriptors = [point[2] for point in warm]
    text = (f"`tests/stress/soak.py --minutes {minutes:g}`, commit {commit()}, {machine()}, everything on this one machine: "
            f"{soak.sent:,} events sent, {delivered:,.0f} delivered, {delivered / minutes / 60:,.0f} a second in the mean. "
            f"After the first tenth resident memory is {min(memory):.1f} to {max(memory):.1f} MiB (`inflight_bytes` is "
            f"{INFLIGHT_BYTES >> 20} MiB, {min(inflight):.1f} to {max(inflight):.1f} of them in flight), its slope {kib:+.2f} KiB a "
            f"minute, and that of what is not in flight {beyond_kib:+.2f}; {min(descriptors)} to {max(descriptors)} descriptors.")
    return text, delivered == soak.sent and beyond_kib < SLOPE_MAX_KIB_PER_MINUTE and max(descriptors) - min(descriptors) < 10


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build/release"))
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--report", metavar="FILE")
    options = parser.parse_args()
    rabbitmq = RabbitMQ()
    kafka = Kafka(**{"log.retention.bytes": 256 << 20, "log.segment.bytes": 64 << 20, "log.retention.check.interval.ms": 5000,
                     "log.segment.delete.delay.ms": 1000})
    soak = None
    try:
        start_all([rabbitmq, kafka])
        rabbitmq.declare_exchanges()
        soak = Soak(options, rabbitmq, kafka, kafka.dir)
        metrics = soak.run(options.minutes)
        soak.tap.stop()
        text, well = judge(soak, metrics, options.minutes)
        print(text)
        if options.report:
            png = os.path.join(os.path.dirname(os.path.abspath(options.report)), "soak.png")
            plot(soak.points, png, kafka.dir)
            put_between(options.report, MARKS, f"{text}\n\n![Memory, descriptors and rate over the hour](soak.png)")
        return 0 if well else 1
    finally:
        if soak:
            soak.tap.discard()
        close_all([rabbitmq, kafka])


if __name__ == "__main__":
    sys.exit(main())
