#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Runs `cbtap export` over the corpus of real events and compares what it writes with the expected outputs.

usage: conformance.py CBTAP CORPUS

Events are compared line by line as JSON values, numbers by their digits. Exit status: 0 all equal, 1 a difference,
2 wrong usage. Without the corpus nothing is compared, and that is said.
"""
import json
import pathlib
import subprocess
import sys
import time

CONFIGURATION = ["-s", "cbtap.server_name=cbserver", "-s", "cbtap.server_url=https://cbtests/",
                 "-s", "filter.float_time=false"]
HEADERS = ["sensorId=7", "sensorHostName=host-7", "hostId=0", "nodeId=0"]
SHOWN_CHARACTERS = 300
TIMEOUT_S = 60


class Number(str):
    """A number's text, so that 1, 1.0 and 1e0 differ."""


class Malformed(Exception):
    pass


def members(pairs):
    """An object, whose keys must differ: json.loads by itself lets the last of several win."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise Malformed("an object holds a key twice")
    return value


def parse(line):
    try:
        return json.loads(line.decode("utf-8"), parse_int=Number, parse_float=Number, parse_constant=Number,
                          object_pairs_hook=members)
    except ValueError as fault:
        raise Malformed(str(fault)) from None


def shown(value):
    if isinstance(value, Number):
        return value[:SHOWN_CHARACTERS]
    text = json.dumps(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."


def difference(actual, expected, path="$"):
    """Where two values differ and how; None where they do not."""
    if type(actual) is not type(expected):
        return f"{path}: is {shown(actual)}, expected {shown(expected)}"
    if isinstance(actual, dict):
        for key in sorted(actual.keys() | expected.keys()):
            if key not in actual:
                return f"{path}.{key}: is missing, expected {shown(expected[key])}"
            if key not in expected:
                return f"{path}.{key}: is {shown(actual[key])}, expected not to be there"
            found = difference(actual[key], expected[key], f"{path}.{key}")
            if found:
                return found
        return None
    if isinstance(actual, list):
        for index, pair in enumerate(zip(actual, expected)):
            found = difference(*pair, f"{path}[{index}]")
            if found:
                return found
        if len(actual) != len(expected):
            return f"{path}: has {len(actual)} elements, expected {len(expected)}"
        return None
    return None if actual == expected else f"{path}: is {shown(actual)}, expected {shown(expected)}"


def compare_lines(actual, expected):
    """How many lines are equal, and the first difference."""
    equal, first = 0, None
    for number in range(max(len(actual), len(expected))):
        if number >= len(actual):
            found = f"{len(actual)} events, expected {len(expected)}"
        elif number >= len(expected):
            found = f"{len(actual)} events, expected {len(expected)}; the first that is too many: " \
                    f"{actual[number].decode('utf-8', 'backslashreplace')[:SHOWN_CHARACTERS]}"
        else:
            try:
                found = difference(parse(actual[number]), parse(expected[number]))
            except Malformed as fault:
                found = f"no JSON ({fault}): {actual[number].decode('utf-8', 'backslashreplace')[:SHOWN_CHARACTERS]}"
        if not found:
            equal += 1
        elif not first:
            first = f"event {number + 1}: {found}"
    return equal, first


def lines_of(data):
    lines = data.split(b"\n")
    return lines[:-1] if lines[-1] == b"" else lines


def export(cbtap, source, options):
    return subprocess.run([cbtap, "export", "--quiet", *CONFIGURATION, *options, source], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIMEOUT_S, check=False)


def cases(corpus):
    """(name, input, expected output, options of export) of all that golden/README.md lists."""
    golden = corpus / "golden"
    headers = [option for header in HEADERS for option in ("--header", header)]
    for source in sorted((corpus / "events").glob("*.log")):
        yield f"events/{source.stem}", source, golden / "events" / f"{source.stem}.ndjson", []
    for source in sorted((corpus / "zip").glob("*.zip")):
        yield f"zip/{source.stem}", source, golden / "zip" / f"{source.stem}.ndjson", []
        yield f"zip/{source.stem}.headers", source, golden / "zip" / f"{source.stem}.headers.ndjson", headers
    for source in sorted(corpus.glob("*.log")):
        yield source.stem, source, golden / f"{source.stem}.ndjson", []
    for source in sorted((corpus / "notifications").glob("*.ndjson")):
        yield f"notifications/{source.stem}", source, golden / "notifications" / source.name, \
            ["--notification", source.stem]


def run(cbtap, source, expected, options):
    """Events expected (or there, where there are more), how many of them are equal, the first fault."""
    want = lines_of(expected.read_bytes())
    done = export(cbtap, source, options)
    got = lines_of(done.stdout)
    equal, first = compare_lines(got, want)
    complaint = done.stderr.decode("utf-8", "backslashreplace").strip()
    if done.returncode != 0 or complaint:
        first = f"exit status {done.returncode}: {complaint[:SHOWN_CHARACTERS]}" + (f"; {first}" if first else "")
    return max(len(got), len(want)), equal, first


def percent(equal, events):
    """Rounded down: only all is 100."""
    return equal * 1000 // events / 10 if events else 100.0


def main(arguments):
    if len(arguments) != 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    cbtap, corpus = arguments[0], pathlib.Path(arguments[1])
    start = time.monotonic()
    if not (corpus / "golden").is_dir():
        print(f"SKIPPED: {corpus} is missing: NOTHING WAS COMPARED WITH REAL EVENTS", flush=True)
        print(f"1 skipped in {time.monotonic() - start:.2f}s")
        return 0
    unused = set((corpus / "golden").rglob("*.ndjson"))
    files, failed, all_events, all_equal = 0, 0, 0, 0
    print(f"{'events':>6} {'equal':>6} {'percent':>7}  file")
    for name, source, expected, options in cases(corpus):
        files += 1
        unused.discard(expected)
        if expected.is_file():
            events, equal, fault = run(cbtap, source, expected, options)
        else:
            events, equal, fault = 0, 0, f"nothing says what is expected: {expected.relative_to(corpus)} is missing"
        all_events += events
        all_equal += equal
        failed += fault is not None
        print(f"{events:6} {equal:6} {percent(equal, events):7.1f}  {name}", flush=True)
        if fault:  # ASCII, for it goes into logs, whatever the locale
            print(f"        DIFFERENT: {fault}".encode("ascii", "backslashreplace").decode(), flush=True)
    for path in sorted(unused):
        failed += 1
        print(f"     0      0     0.0  DIFFERENT: {path.relative_to(corpus)} has no input", flush=True)
    print(f"{all_events:6} {all_equal:6} {percent(all_equal, all_events):7.1f}  total of {files} files, {failed} different")
    # In the words of pytest, which tools/count_tests.py reads.
    outcome = (f"{failed} failed, " if failed else "") + f"{files - min(files, failed)} passed"
    print(f"{outcome} in {time.monotonic() - start:.2f}s")
    return 1 if failed or files == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
