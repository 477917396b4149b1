# SPDX-License-Identifier: MIT
"""Inputs through `cbtap export`, and what became of each compared with what was expected.

What becomes of an input, its outcome, is the list of its objects (empty: filtered), or DEAD.
"""
import json
import re
import subprocess

from decoder import DEAD, UNSPECIFIED, Number


def parse(line):
    """A line of output, strictly: UTF-8, JSON, no key twice."""
    def unique(pairs):
        if len(pairs) != len(dict(pairs)):
            raise ValueError("a key twice")
        return dict(pairs)

    def no_constant(name):
        raise ValueError(f"{name} is not JSON")

    return json.loads(line.decode("utf-8"), parse_int=Number, parse_float=Number, parse_constant=no_constant,
                      object_pairs_hook=unique)


class Export:
    """`cbtap export` with one set of options. `join` makes a file of inputs, whose first `skip` lines of output are no
    input's."""

    def __init__(self, cbtap, arguments, directory, join, skip=0):
        self.command = [cbtap, "export", *arguments]
        self.file = directory / "inputs"
        self.join, self.skip = join, skip

    def __call__(self, inputs):
        """The lines on standard output, and the number of dead letters."""
        self.file.write_bytes(self.join(inputs))
        done = subprocess.run(self.command + [self.file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        errors = done.stderr.decode("utf-8", "replace")
        assert done.returncode in (0, 1), f"exit status {done.returncode} of {self.command}: {errors[-4000:]}"
        dead = len(re.findall("^error ", errors, re.M))
        assert done.returncode == (dead > 0), f"exit status {done.returncode}, but {errors[-4000:]}"
        assert done.stdout == b"" or done.stdout.endswith(b"\n")
        return done.stdout.split(b"\n")[self.skip:-1], dead

    def one(self, item):
        """The outcome of one input; of lines that are no JSON, the lines."""
        lines, dead = self([item])
        if dead == 1 and not lines:
            return DEAD
        try:
            return ["dead"] * dead + [parse(line) for line in lines]
        except ValueError:
            return lines


def matches(expected, lines, dead):
    """Whether lines and dead letters are what was expected of all the inputs together."""
    objects = [event for outcome in expected if outcome != DEAD for event in outcome]
    try:
        return len(lines) == len(objects) and dead == expected.count(DEAD) \
            and all(parse(line) == event for line, event in zip(lines, objects))
    except ValueError:
        return False


def smallest(differs, data):
    """The input without whatever is not needed for it to differ."""
    step = len(data) // 2
    while step:
        at = 0
        while at < len(data):
            shorter = data[:at] + data[at + step:]
            if differs(shorter):
                data = shorter
            else:
                at += step
        step //= 2
    return data


def describe(expected, actual):
    """Only what differs."""
    if not all(isinstance(side, list) and len(side) == 1 and isinstance(side[0], dict) for side in (expected, actual)):
        return f"  expected {expected!r}\n  is       {actual!r}"
    expected, actual, lines = expected[0], actual[0], []
    for key in sorted(expected.keys() | actual.keys()):
        shown = [f"{side[key]!r}" if key in side else "no such key" for side in (expected, actual)]
        if key not in expected or key not in actual or expected[key] != actual[key]:
            lines.append(f"  {key}:\n    expected {shown[0]:.2000}\n    is       {shown[1]:.2000}")
    return "\n".join(lines)


def check(export, decode, inputs, context):
    """The lines, or AssertionError with the first input whose outcome is not as expected, and the smallest like it."""
    expected = [decode(item) for item in inputs]
    lines, dead = export(inputs)
    if matches(expected, lines, dead):
        return lines
    for number, (item, want) in enumerate(zip(inputs, expected)):
        if export.one(item) == want:
            continue
        small = smallest(lambda data: decode(data) not in (UNSPECIFIED, export.one(data)), item)
        raise AssertionError(f"input {number} of these, {context}\n" + "\n".join(
            f"{name} {data[:4000]!r}\n  = {data[:4000].hex()}\n{describe(decode(data), export.one(data))}"
            for name, data in (("whole", item), ("smallest", small))))
    raise AssertionError(f"the inputs together differ, each on its own does not, {context}")
