#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Very many archived files through the daemon, which is killed again and again: is every event delivered, what memory and
time does it take, and what does it cost to find nothing new?

For each number of folders: `cbtap-loadgen archive` makes a tree of small bundles; the daemon (type = archive, after = keep)
writes their events to a file, is killed by SIGKILL at even stretches of the way, and ends with all delivered; then it is
started once more, and has nothing to do. Every event must be in the file; those of an endpoint in their order, repeats apart.

usage: tests/stress/archive.py [--files 1000000] [--folders 1 1000] [--kills 5] [--report docs/RELIABILITY.md]

It takes about 6 KB of disk and one inode a file, below --directory, and gives them back. Exit status 1 where an event is
missing or out of order, or memory exceeds its bound.
"""
import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(ROOT, "bench"), *(os.path.join(ROOT, "tests", name) for name in ("services", "integration"))]

from harness import Cbtap  # noqa: E402
from pipeline import process_seconds  # noqa: E402
from process import until  # noqa: E402
from report import commit, machine, put_between  # noqa: E402

EVENTS_EACH = 2
FIRST_UNIX = 1_704_067_200  # of each endpoint's first event: see bench/README.md
INFLIGHT_BYTES = 64 << 20
# Besides what is in flight: program and libraries, the queue of files, and the checkpoint's set while it grows.
MEMORY_BOUND = INFLIGHT_BYTES + (64 << 20)
MEMORY_BOUND_A_FILE = 64
MARKS = ("<!-- written by tests/stress/archive.py: begin -->", "<!-- written by tests/stress/archive.py: end -->")
LOOKED = re.compile(r"looked through .* entries=(\d+) .*milliseconds=(\d+)")
HEAD = """| folders | files | kills | events | missing | repeated | out of order | files/s | processor time a file, µs | scans: number, seconds | \
oldest frame, s | memory at most, MiB | checkpoint, MB | nothing new: seconds, of the processor |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"""


class Way:
    """One daemon over its lives, and what they took in all."""

    def __init__(self, options, directory):
        self.tap = Cbtap(os.path.join(options.build, "bin/cbtap"), directory, {
            "cbtap": {"http_listen": "127.0.0.1:0", "inflight_bytes": INFLIGHT_BYTES, "log.level": "debug"},
            "source.old": {"type": "archive", "path": os.path.join(directory, "tree"), "follow": "false", "quiet_ms": 0,
                           "checkpoint": os.path.join(directory, "checkpoint")},
            "sink.out": {"type": "file", "path": os.path.join(directory, "events.ndjson"), "fsync": "none",
                         "dead_letter_dir": os.path.join(directory, "dead")}})
        self.delivered = self.memory_bytes = self.processor_s = self.wall_s = self.oldest_s = 0

    def live(self, events):
        """One life, until so many more are delivered, or all is."""
        said, began = len(self.tap.log()), time.monotonic()
        self.tap.start(ready=False)

        def enough():
            nonlocal metrics
            assert self.tap.alive(), self.tap.log()[-2000:]
            metrics = self.tap.metrics()
            self.oldest_s = max(self.oldest_s, metrics("cbtap_oldest_frame_seconds"))
            return metrics("cbtap_sink_delivered_records_total") >= events or "all of the archive is delivered" in self.tap.log()[said:]

        metrics = None
        until(enough, 3600, lambda: f"{events} events to be delivered:\n{metrics}", 0.05)
        self.wall_s += time.monotonic() - began
        self.processor_s += process_seconds(self.tap.process.pid)
        self.memory_bytes = max(self.memory_bytes, self.tap.memory_bytes("VmHWM"))
        self.delivered += int(metrics("cbtap_sink_delivered_records_total"))

    def scans(self):
        """Entries and seconds of each scan that came to its end."""
        return [(int(entries), int(ms) / 1000) for entries, ms in LOOKED.findall(self.tap.log())]


def make_tree(options, directory, folders):
    room = os.statvfs(directory)
    assert room.f_favail > 1.1 * options.files and room.f_bavail * room.f_frsize > 6000 * options.files, f"no room in {directory}"
    events = options.files * EVENTS_EACH
    subprocess.run([os.path.join(options.build, "bin/cbtap-loadgen"), "archive", "--dir", os.path.join(directory, "tree"),
                    "--events", str(events), "--endpoints", str(folders), "--events-per-message", str(EVENTS_EACH),
                    "--shape", "bundle", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return events


def look_for(path, events, folders):
    """How many of the events are missing, repeated, and out of order."""
    each = events // folders
    seen, last = {}, {}
    repeated = misplaced = 0
    find = re.compile(rb'"sensor_id":(\d+)\b.*?"timestamp":(\d+)|"timestamp":(\d+).*?"sensor_id":(\d+)\b').search
    with open(path, "rb") as f:
        for line in f:
            a, b, c, d = find(line).groups()
            sensor, number = a or d, int(b or c) - FIRST_UNIX
            numbers = seen.setdefault(sensor, bytearray(each))
            if numbers[number]:
                repeated += 1
                continue
            numbers[number] = 1
            misplaced += last.get(sensor, -1) > number
            last[sensor] = number
    return events - sum(map(sum, seen.values())), repeated, misplaced


def run(options, folders, directory):
    """A row of the table, and whether all is well."""
    events = make_tree(options, directory, folders)
    print(f"{folders} folders: the tree is made", flush=True)
    way = Way(options, directory)
    try:
        for number in range(options.kills):
            way.live(events * (number + 1) // (options.kills + 1) - way.delivered)
            assert way.tap.metrics()("cbtap_archive_left_files") > 0, "all was delivered before the last kill"
            way.tap.kill()
            print(f"killed after {way.delivered:,} of {events:,} events", flush=True)
        way.live(sys.maxsize)
        way.tap.metrics().assert_balance_at_rest()
        way.tap.stop()
        scans, checkpoint_mb = way.scans(), os.path.getsize(os.path.join(directory, "checkpoint")) / 1e6
        again = Way(options, directory)
        again.live(sys.maxsize)
        again.tap.stop()
    finally:
        way.tap.discard()
    missing, repeated, misplaced = look_for(os.path.join(directory, "events.ndjson"), events, folders)
    took = sorted(seconds for entries, seconds in scans if entries >= options.files)
    well = missing == misplaced == again.delivered == 0 and \
        way.memory_bytes <= MEMORY_BOUND + MEMORY_BOUND_A_FILE * options.files
    return (f"| {folders:,} | {options.files:,} | {options.kills} | {events:,} | {missing:,} | {repeated:,} | {misplaced:,} "
            f"| {options.files / way.wall_s:,.0f} | {1e6 * way.processor_s / options.files:.0f} "
            f"| {len(took)}, {took[0]:.1f} to {took[-1]:.1f} | {way.oldest_s:.1f} | {way.memory_bytes / 2**20:.0f} "
            f"| {checkpoint_mb:.1f} | {again.wall_s:.1f}, {again.processor_s:.1f} |"), well


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build/release"))
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--folders", type=int, nargs="+", default=[1, 1000])
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--directory", default=tempfile.gettempdir(), help="where the trees are made (%(default)s)")
    parser.add_argument("--report", metavar="FILE", help="write the table into this Markdown file, between its marks")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the tree is removed
    rows, all_well = [], True
    for folders in options.folders:
        directory = tempfile.mkdtemp(prefix="cbtap-archive-", dir=options.directory)
        try:
            row, well = run(options, folders, directory)
        finally:
            shutil.rmtree(directory)
        print(row, flush=True)
        rows.append(row)
        all_well = all_well and well
    about = f"`tests/stress/archive.py {' '.join(sys.argv[1:])}`, commit {commit()}, {machine()}, load {os.getloadavg()[0]:.1f}."
    text = f"{about}\n\n{HEAD}\n" + "\n".join(rows)
    print(text)
    if options.report:
        put_between(options.report, MARKS, text)
    return 0 if all_well else 1


if __name__ == "__main__":
    sys.exit(main())
