# SPDX-License-Identifier: MIT
"""Allocations of libraries fail, of those that survive it: ARCHITECTURE.md says which do not."""
import pytest

from test_commands import exhaust, files, judge  # pylint: disable=unused-import

STARTING = "libmicrohttpd libdeflate librdkafka libsystemd"


def test_library_without_memory_at_the_start_is_an_error(files, make_libraries, env, exhaustive):
    exhaust(lambda run: make_libraries(run, STARTING), ["run", "-c", "cbtap.conf"], files, env, exhaustive)


def left_out(ended, whole):
    """Where it begins at all, each event is in the output, or what it stood in is said to be left out."""
    fault = judge(ended, whole)
    if fault:
        return fault
    missing = set(whole.out.splitlines()) - set(ended.out.splitlines())
    if missing and ended.out and "left out file=b.zip" not in ended.err:
        return f"{len(missing)} events are missing without a word"
    return None


def test_events_of_a_zip_without_memory_are_written_or_named(files, make_libraries, env, exhaustive):
    exhaust(lambda run: make_libraries(run, "libzip libdeflate"), ["export", "b.zip"], files, env, exhaustive, left_out)
