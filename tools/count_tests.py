#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Counts the tests of CTest's JUnit files: prints "passed failed skipped".

A test of CTest is a program; what cmocka or pytest counted in it counts here, a program of neither kind as one.
"""
import re
import sys
import xml.etree.ElementTree

CMOCKA = {"passed": r"^\[  PASSED  \] (\d+) test", "failed": r"^\[  FAILED  \] (?:\w+: )?(\d+) test",
          "skipped": r"^\[  SKIPPED \] (?:\w+: )?(\d+) test"}
PYTEST = re.compile(r"^(?:=+ )?((?:\d+ \w+(?:, )?)+) in [\d.]+s", re.M)


def count(case):
    output = case.findtext("system-out") or ""
    ok = case.get("status") == "run"
    counts = {name: sum(map(int, re.findall(pattern, output, re.M))) for name, pattern in CMOCKA.items()}
    summary = PYTEST.findall(output)
    if summary:
        counts = dict.fromkeys(CMOCKA, 0)
        for number, word in re.findall(r"(\d+) (\w+)", summary[-1]):
            counts["failed" if word in ("error", "errors") else word] = int(number)
    counts = [counts.get(name, 0) for name in ("passed", "failed", "skipped")]
    if case.get("status") in ("disabled", "notrun"):
        return [0, 1, 0]
    if ok and counts[0] + counts[2] == 0:
        counts[0] = 1
    if not ok and counts[1] == 0:
        counts[1] = 1
    return counts


def main(paths):
    total = [0, 0, 0]
    for path in paths:
        for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
            total = [a + b for a, b in zip(total, count(case))]
    print(*total)


if __name__ == "__main__":
    main(sys.argv[1:])
