#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Decoding and encoding alone, by type of event: nanoseconds, and instructions counted by callgrind; a Markdown table.

Instructions are the number to compare between two versions of the code: they do not depend on what else the machine does.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile

import one_of_each

HERE = os.path.dirname(os.path.abspath(__file__))
STEPS = ("walk", "decode", "encode")


def run(argv):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv)}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return dict(re.findall(r"(\w+)=([\d.]+)", done.stdout)), done.stderr


def measure(program, arguments, events):
    """For each step, what it adds: nanoseconds, and instructions, an event."""
    rows, ns_before, instructions_before = [], 0.0, 0.0
    for step in STEPS:
        argv = [program, "--step", step, "--events", str(events)]
        numbers, _ = run([*argv, *arguments])
        with tempfile.TemporaryDirectory() as directory:
            counted, said = run(["valgrind", "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=measure",
                                 f"--callgrind-out-file={directory}/out", *argv, "--rounds", "1", *arguments])
        instructions = int(re.search(r"Collected : (\d+)", said)[1]) / float(counted["events"])
        ns = float(numbers["ns_per_event"])
        rows.append((ns - ns_before, instructions - instructions_before))
        ns_before, instructions_before = ns, instructions
    return rows, ns_before, instructions_before, numbers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(HERE, "..", "build", "release"), help="build folder (%(default)s)")
    parser.add_argument("--events", type=int, default=5000, help="of each measurement (%(default)s)")
    parser.add_argument("files", nargs="*", metavar="FILE", help="sensor event logs to measure besides, each on its own")
    options = parser.parse_args()
    program = os.path.join(options.build, "bin", "cbtap-micro")
    if not os.access(program, os.X_OK):
        parser.error(f"there is no {program}: cmake --preset release && cmake --build --preset release")

    print("| events | bytes in | bytes out | walk, ns | decode, ns | encode, ns | in all, ns | walk, instructions "
          "| decode, instructions | encode, instructions | in all, instructions |")
    print("|---|" + "---|" * 10)
    with tempfile.TemporaryDirectory() as directory:
        what = [(f"the mix, {shape}", ["--shape", shape]) for shape in ("bundle", "zip", "event")]
        what += [(name, [path]) for name, path in one_of_each.write(directory)]
        what += [(os.path.basename(path), [path]) for path in options.files]
        for name, arguments in what:
            rows, ns, instructions, numbers = measure(program, arguments, options.events)
            print(f"| {name} | {numbers['bytes_in_per_event']} | {numbers['bytes_out_per_event']} | "
                  + " | ".join(f"{row[0]:.0f}" for row in rows) + f" | {ns:.0f} | "
                  + " | ".join(f"{row[1]:.0f}" for row in rows) + f" | {instructions:.0f} |", flush=True)


if __name__ == "__main__":
    main()
