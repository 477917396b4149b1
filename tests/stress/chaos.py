#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Faults under load: cbtap, RabbitMQ, Kafka and Redis are killed, cut off, starved and refused, with real servers and the
load generator at work. Nothing may be missing, duplicates only of what was unsettled, order kept for each endpoint, and
events must flow again within a second of the service's return.

usage: tests/stress/chaos.py [options] [CASE...]      CASE: a glob, e.g. 'Kafka: *'; --list names them

Exit status 1 when a promise broke.
"""
import argparse
import os
import shlex
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(ROOT, "tests", name) for name in ("services", "integration")]

import cases_cbtap  # noqa: E402,F401
import cases_kafka  # noqa: E402,F401
import cases_rabbitmq  # noqa: E402,F401
import cases_redis  # noqa: E402,F401
from bed import Bed  # noqa: E402
from cases import ALL, chosen  # noqa: E402
from report import Table  # noqa: E402
from trial import Trial  # noqa: E402


def run_once(bed, case, number, table):
    began = time.monotonic()
    trial = Trial(bed, case, number)
    try:
        case.run(trial, bed)
        row = trial.finish()
    except Exception as e:  # pylint: disable=broad-except
        traceback.print_exc()
        table.add_failure(case, e)
        print(f"FAILED  {case.name} (run {number}): {e}", flush=True)
        return
    finally:
        trial.close()
    table.add(case, row)
    recovered = ", ".join(f"{seconds:.2f}" for seconds in row["recoveries"])
    print(f"ok      {case.name} (run {number}, {time.monotonic() - began:.0f} s): {row['sent']:,} sent, "
          f"{row['missing']:,} missing, {row['duplicates']:,} duplicates of {row['repeatable']:,} allowed, "
          f"{row['out_of_order']} out of order, flows after [{recovered}] s, {row['rss_mib']:.0f} MiB", *row["notes"], flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--build", default=os.path.join(ROOT, "build/release"))
    parser.add_argument("--minutes", type=float, default=0, help="begin rounds of all cases for so long (default: one round)")
    parser.add_argument("--short", action="store_true", help="the few cases that are part of tools/test.sh, with little load")
    parser.add_argument("--away-s", type=float, default=600, help="how long Kafka is away in the case that says so")
    parser.add_argument("--sanitizer", default="", choices=["", "address", "thread"], help="what cbtap was built with")
    parser.add_argument("--report", metavar="FILE", help="write the table into this Markdown file, between its marks")
    parser.add_argument("--log-dir", help="where the servers' and cbtap's logs stay after the run")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    options = parser.parse_args()
    cases = chosen(options.cases, options.short, options.sanitizer)
    if options.list:
        print("\n".join(one.name for one in cases))
        return 0
    if not cases:
        parser.error("no such case: see --list")
    table = Table(cases)
    ends = time.monotonic() + options.minutes * 60
    number = 0
    with Bed(options.build, options.sanitizer, options.short, options.away_s, options.log_dir) as bed:
        while number == 0 or time.monotonic() < ends:
            number += 1
            for case in cases:
                if number == 1 or (not case.once and time.monotonic() < ends):
                    run_once(bed, case, number, table)
    print(table.text())
    if options.report:
        table.write(options.report, shlex.join(["tools/chaos.sh", f"{options.minutes:g}", *options.cases]), ALL)
    return 1 if table.failures else 0


if __name__ == "__main__":
    sys.exit(main())
