#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""An archive of real events through the daemon's source of type archive, beside `cbtap export` of the same tree.

The tree is that of export.py: FILES files in FOLDERS folders, each all of CORPUS/events one behind the other, in a
temporary folder that is removed afterwards. Round by round: `cbtap export --jobs 1` to /dev/null, the daemon to a file sink
at /dev/null, the daemon to a Kafka of this program's own; each round of the daemon begins with a new checkpoint, and ends
when all is delivered and settled. Prints a Markdown table: the median of the rounds, the lowest and the highest.
"""
import argparse
import os
import signal
import sys
import tempfile
import time

from export import ROOT, machine, make_tree, measure, print_table
from pipeline import process_seconds

sys.path[:0] = [os.path.join(ROOT, "tests", name) for name in ("services", "integration")]
from harness import Cbtap  # noqa: E402
from kafka_service import Kafka  # noqa: E402


def delivered(tap, events):
    """Until all is; asking costs too, so it is asked ever less often."""
    began = time.monotonic()

    def finished(metrics):
        time.sleep(min(1.0, (time.monotonic() - began) / 20))
        return metrics("cbtap_sink_delivered_records_total") >= events and metrics.at_rest()

    return tap.wait(finished, 600, f"{events} events to be delivered")


def run_daemon(cbtap, tree, sink, events):
    """Wall and processor time from the daemon's start until all is delivered, and its highest memory, in MiB."""
    with tempfile.TemporaryDirectory(prefix="cbtap-bench-tap-") as directory:
        tap = Cbtap(cbtap, directory, {
            "cbtap": {"http_listen": "127.0.0.1:0"},
            "source.old": {"type": "archive", "path": tree, "quiet_ms": 0, "checkpoint": os.path.join(directory, "checkpoint")},
            "sink.out": {"dead_letter_dir": os.path.join(directory, "dead"), **sink}})
        try:
            began = time.monotonic()
            tap.start(ready=False)
            delivered(tap, events).assert_balance_at_rest()
            wall, processor = time.monotonic() - began, process_seconds(tap.process.pid)
            memory = tap.memory_bytes("VmHWM") / 2**20
            tap.stop()
        finally:
            tap.discard()
    return wall, processor, memory


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build", "release"), help="build folder (%(default)s)")
    parser.add_argument("--corpus", default=os.path.join(ROOT, "..", "shared", "corpus"), help="(%(default)s)")
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--folders", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the tree is removed
    cbtap = os.path.join(options.build, "bin", "cbtap")
    with tempfile.TemporaryDirectory(prefix="cbtap-bench-") as tree, Kafka(partitions=4) as kafka:
        paths, each, file_bytes = make_tree(tree, options.corpus, options.files, options.folders)
        events, megabytes = each * len(paths), len(paths) * file_bytes / 1e6
        print(f"{machine()}; {len(paths):,} files, {events:,} events, {megabytes / 1e3:.2f} GB\n", flush=True)
        sinks = {"`type = archive` to a file sink at /dev/null": {"type": "file", "path": os.devnull},
                 "`type = archive` to Kafka": {"type": "kafka", "kafka.bootstrap.servers": kafka.bootstrap}}
        exported = "`cbtap export --jobs 1`"
        measured = {name: [] for name in (exported, *sinks)}
        highest = dict.fromkeys(sinks, 0)
        for number in range(options.rounds):
            wall, processor, _ = measure([cbtap, "export", tree, "--jobs", "1"])
            measured[exported].append((events / wall, 1e6 * processor / events, megabytes / wall))
            for name, sink in sinks.items():
                sink = sink | ({"topic": f"bench-{number}"} if sink["type"] == "kafka" else {})
                wall, processor, memory = run_daemon(cbtap, tree, sink, events)
                measured[name].append((events / wall, 1e6 * processor / events, megabytes / wall))
                highest[name] = max(highest[name], memory)
        print_table(measured)
        print("\n" + "; ".join(f"{name}: {memory:.0f} MiB at most" for name, memory in highest.items()))


if __name__ == "__main__":
    main()
