# SPDX-License-Identifier: MIT
"""The table of cases: each is a function that disturbs a daemon under load."""
import fnmatch

ALL = []
REFUSED_S = 6.0  # a peer that refuses is asked every 5 s


class Case:
    """What is expected of it: may_miss says why events may be missing; says are lines of the log, one a fault."""

    def __init__(self, function, group, name, **expected):
        self.function, self.name = function, f"{group}: {name}"
        self.short = expected.pop("short", False)
        self.once = expected.pop("once", False)
        self.without = expected.pop("without", ())
        self.recovery_max_s = expected.pop("recovery_max_s", 1.0)
        self.says = expected.pop("says", ())
        self.dead_letters = expected.pop("dead_letters", 0)
        self.may_miss = expected.pop("may_miss", "")
        self.shape = expected.pop("shape", "bundle")
        assert not expected, f"unknown: {expected}"

    def run(self, trial, bed):
        self.function(trial, bed)


def case(group, name, **expected):
    def add(function):
        ALL.append(Case(function, group, name, **expected))
        return function
    return add


def chosen(patterns, short, sanitizer):
    return [one for one in ALL if (not patterns or any(fnmatch.fnmatch(one.name, p) for p in patterns))
            and (one.short or not short) and sanitizer not in one.without]
