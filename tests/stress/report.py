# SPDX-License-Identifier: MIT
"""The table of the fault matrix, as docs/RELIABILITY.md shows it."""
import datetime
import os
import re
import statistics
import subprocess

MARKS = ("<!-- written by tools/chaos.sh: begin -->", "<!-- written by tools/chaos.sh: end -->")
HEAD = """| case | runs | events sent | missing | duplicates | out of order | flows again after, s | memory, MiB |
|---|---|---|---|---|---|---|---|"""


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = re.search(r"model name\s*: (.*)", f.read())
    return f"{os.cpu_count()} x {model[1] if model else 'processor'}"


def commit():
    here = os.path.dirname(os.path.abspath(__file__))
    said = subprocess.run(["git", "-C", here, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return said.stdout.strip() or "an unknown commit"


def put_between(path, marks, text):
    """Replaces what is between the two marks of a file."""
    with open(path, encoding="utf-8") as f:
        before, rest = f.read().split(marks[0])
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"{before}{marks[0]}\n{text}\n{marks[1]}{rest.split(marks[1])[1]}")


class Table:
    """Gathers the rows of every run of every case."""

    def __init__(self, cases):
        self.cases = cases
        self.rows = {case.name: [] for case in cases}
        self.failures = {}

    def add(self, case, row):
        self.rows[case.name].append(row)

    def add_failure(self, case, error):
        self.failures.setdefault(case.name, []).append(str(error).split("\n", 1)[0])

    def line(self, case):
        rows = self.rows[case.name]
        if not rows:
            return f"| {case.name} | 0 | | | | | | |"
        sums = {key: sum(row[key] for row in rows) for key in ("sent", "missing", "duplicates", "out_of_order")}
        seconds = [s for row in rows for s in row["recoveries"]]
        again = f"{statistics.median(seconds):.2f} (worst of {len(seconds)}: {max(seconds):.2f})" if seconds else "never stopped"
        missing = f"{sums['missing']:,}" + (f" ({case.may_miss})" if case.may_miss else "")
        return (f"| {case.name} | {len(rows)} | {sums['sent']:,} | {missing} | {sums['duplicates']:,} | "
                f"{sums['out_of_order']} | {again} | {max(row['rss_mib'] for row in rows):.0f} |")

    def text(self):
        lines = [HEAD, *map(self.line, self.cases)]
        lines += [f"\nFAILED {name}: {error}" for name, errors in self.failures.items() for error in errors]
        notes = [f"{case.name}: {note}" for case in self.cases for row in self.rows[case.name] for note in row["notes"]]
        return "\n".join(lines + ([""] if notes else []) + notes)

    def write(self, path, command):
        when = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
        about = f"`{command}`, {when}, commit {commit()}, {machine()}, everything on this one machine."
        put_between(path, MARKS, f"{about}\n\n{self.text()}")
