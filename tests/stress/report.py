# SPDX-License-Identifier: MIT
"""The table of the fault matrix, as docs/RELIABILITY.md shows it."""
import datetime
import os
import re
import statistics
import subprocess

MARKS = ("<!-- written by tools/chaos.sh: begin -->", "<!-- written by tools/chaos.sh: end -->")
HEAD = """| case | runs | events sent | missing | duplicates | out of order | flows again after, s | memory, MiB | commit |
|---|---|---|---|---|---|---|---|---|"""


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = re.search(r"model name\s*: (.*)", f.read())
    return f"{os.cpu_count()} x {model[1] if model else 'processor'}"


def commit():
    """What was tested; a plus sign: with changes of more than documents."""
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    said = subprocess.run(["git", "-C", root, "describe", "--always"], capture_output=True, text=True, check=False)
    same = subprocess.run(["git", "-C", root, "diff", "--quiet", "HEAD", "--", ":!docs"], check=False).returncode == 0
    return (said.stdout.strip() or "unknown") + ("" if same else "+")


def put_between(path, marks, text):
    """Replaces what is between the two marks of a file."""
    with open(path, encoding="utf-8") as f:
        before, rest = f.read().split(marks[0])
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"{before}{marks[0]}\n{text}\n{marks[1]}{rest.split(marks[1])[1]}")


class Table:
    """Gathers the rows of every run of every case. Cases that fail have a row, too: it says so."""

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
        failed = f" **{len(self.failures[case.name])} FAILED: {self.failures[case.name][0]}**" if case.name in self.failures else ""
        if not rows:
            return f"| {case.name} | 0{failed} | | | | | | | {commit()} |"
        sums = {key: sum(row[key] for row in rows) for key in ("sent", "missing", "duplicates", "out_of_order")}
        seconds = [s for row in rows for s in row["recoveries"]]
        again = f"{statistics.median(seconds):.2f} (worst of {len(seconds)}: {max(seconds):.2f})" if seconds else "never stopped"
        missing = f"{sums['missing']:,}" + (f" ({case.may_miss})" if case.may_miss else "")
        notes = "".join(f"; {note}" for row in rows for note in row["notes"])
        return (f"| {case.name}{notes} | {len(rows)}{failed} | {sums['sent']:,} | {missing} | {sums['duplicates']:,} | "
                f"{sums['out_of_order']} | {again} | {max(row['rss_mib'] for row in rows):.0f} | {commit()} |")

    def text(self):
        return "\n".join([HEAD, *map(self.line, self.cases)])

    def write(self, path, command, order):
        """The rows of this run, and those of earlier ones for the cases that it did not have."""
        lines = {}
        with open(path, encoding="utf-8") as f:
            for line in f.read().split(MARKS[0])[1].split(MARKS[1])[0].split("\n") + list(map(self.line, self.cases)):
                name = re.match(r"\| (\w+: [^|;]+?)(?: \||;)", line)
                if name:
                    lines[name[1]] = line
        when = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
        about = f"Last run: `{command}`, {when}, on {machine()}, everything on this one machine."
        rows = "\n".join(lines[case.name] for case in order if case.name in lines)
        put_between(path, MARKS, f"{about}\n\n{HEAD}\n{rows}")
