#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""An archive of real events through `cbtap export`, beside `cat` of its files and a loop in Python's protobuf package.

It makes a tree of FILES files in FOLDERS folders, each all of CORPUS/events one behind the other, in a temporary folder
that is removed afterwards. Round by round: cat, cbtap with 1 job, with 2 jobs, Python over a part of the tree; all to
/dev/null. Prints a Markdown table: the median of the rounds, the lowest and the highest.
"""
import argparse
import glob
import json
import os
import platform
import resource
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)


def python_loop(paths):
    """What a script does: each record parsed, made a dict, written as JSON. How many events, and the seconds of wall and
    processor time that it took, without the interpreter's start."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["protoc", f"-I{ROOT}/proto", f"--python_out={folder}", f"{ROOT}/proto/sensor_events.proto"], check=True)
        sys.path.insert(0, folder)
        import sensor_events_pb2  # pylint: disable=import-error,import-outside-toplevel
    from google.protobuf.json_format import MessageToDict  # pylint: disable=import-outside-toplevel
    count, begun, used = 0, time.monotonic(), time.process_time()
    with open(os.devnull, "w", encoding="utf-8") as out:
        for path in paths:
            with open(path, "rb") as f:
                data = f.read()
            at = 0
            while at < len(data):
                (length,) = struct.unpack_from("<I", data, at)
                message = sensor_events_pb2.CbEventMsg.FromString(data[at + 4:at + 4 + length])
                out.write(json.dumps(MessageToDict(message)) + "\n")
                at += 4 + length
                count += 1
    return count, time.monotonic() - begun, time.process_time() - used


def measure(argv, **options):
    """Wall and processor time of a command, in seconds."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(argv, stderr=subprocess.PIPE, check=False, **{"stdout": subprocess.DEVNULL, **options})
    wall, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv[:3])} ended with {done.returncode}: {done.stderr.decode()[-1000:]}")
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, done


def make_tree(directory, corpus, files, folders):
    """The tree's files, and the events in each."""
    body = b""
    for path in sorted(glob.glob(os.path.join(corpus, "events", "*.log"))):
        with open(path, "rb") as f:
            body += f.read()
    at = events = 0
    while at < len(body):
        at += 4 + struct.unpack_from("<I", body, at)[0]
        events += 1
    paths = []
    for number in range(files):
        folder = os.path.join(directory, str(1 + number % folders))
        os.makedirs(folder, exist_ok=True)
        paths.append(os.path.join(folder, f"{number}.log"))
        with open(paths[-1], "wb") as f:
            f.write(body)
    return paths, events, len(body)


def spread(values, digits):
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def print_table(measured):
    """Of each row's rounds: events a second, microseconds an event, megabytes a second."""
    print("| | events/s | processor time an event, µs | MB/s |\n|---|---|---|---|")
    for name, values in measured.items():
        rate, cost, throughput = zip(*values)
        print(f"| {name} | {spread(rate, 0)} | {spread(cost, 2)} | {spread(throughput, 0)} |")


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), platform.machine())
    return f"{model}, {os.cpu_count()} processors, Linux {platform.release()}; load {os.getloadavg()[0]:.1f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build", "release"), help="build folder (%(default)s)")
    parser.add_argument("--corpus", default=os.path.join(ROOT, "..", "shared", "corpus"), help="(%(default)s)")
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--folders", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--python-files", type=int, default=8, help="files that the loop in Python reads a round")
    parser.add_argument("--python-loop", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.python_loop:
        print(*python_loop(options.python_loop))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the tree is removed
    cbtap = os.path.join(options.build, "bin", "cbtap")
    with tempfile.TemporaryDirectory(prefix="cbtap-bench-") as directory:
        paths, events, file_bytes = make_tree(directory, options.corpus, options.files, options.folders)
        some = paths[:options.python_files]
        of_all, of_some = events * len(paths), events * len(some)
        print(f"{machine()}; {len(paths):,} files, {of_all:,} events, {len(paths) * file_bytes / 1e9:.2f} GB\n")
        script = [sys.executable, os.path.abspath(__file__), "--python-loop", *some]
        export = [cbtap, "export", directory, "--jobs"]
        rows = {"`cat`": (["cat", *paths], of_all), "`cbtap export --jobs 1`": ([*export, "1"], of_all),
                "`cbtap export --jobs 2`": ([*export, "2"], of_all),
                f"Python's protobuf, {len(some)} of the files": (script, of_some)}
        measured = {name: [] for name in rows}
        for _ in range(options.rounds):
            for name, (argv, count) in rows.items():
                wall, processor, done = measure(argv, **({"stdout": subprocess.PIPE} if argv is script else {}))
                if argv is script:
                    events_of_script, wall, processor = map(float, done.stdout.split())
                    said = events_of_script == count
                else:
                    said = argv[0] != cbtap or f"events={count} ".encode() in done.stderr
                if not said:
                    sys.exit(f"{name}: not {count} events: {done.stdout} {done.stderr}")
                measured[name].append((count / wall, 1e6 * processor / count, len(paths) * file_bytes * count / of_all / wall / 1e6))
        print_table(measured)


if __name__ == "__main__":
    main()
