# SPDX-License-Identifier: MIT
"""cbtap export where it takes more than a program and files: a terminal, a Kafka, a tree that grows."""
import os
import pty
import re
import subprocess

import pytest

from events import Fleet, bundle_of


def tree_of(pb, directory, folders, files, records):
    """A tree as the server archives it: folder 100 for the first sensor, and so on. How many events."""
    fleet = Fleet(pb, sensors=folders)
    for sensor in range(100, 100 + folders):
        (directory / str(sensor)).mkdir(parents=True)
        for number in range(files):
            (directory / str(sensor) / f"{number}.log").write_bytes(bundle_of([fleet.record(sensor) for _ in range(records)]))
    return folders * files * records


def on_terminal(argv, env):
    """What it writes to standard error, a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, True)
    subprocess.run(["stty", "cols", "100", "rows", "24"], stdin=theirs, check=True)
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=theirs, env=env) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux: the other end is closed
                break
            if not part:
                break
            said += part
        process.wait(60)
    os.close(ours)
    return said.decode(), process.returncode


@pytest.mark.without("address", "thread")
def test_progress_is_drawn_on_a_terminal_and_colours_are_left_out_when_unwanted(request, pb, tmp_path):
    count = tree_of(pb, tmp_path / "tree", folders=4, files=4, records=50)
    argv = [request.config.getoption("--cbtap"), "export", str(tmp_path / "tree")]
    env = {**os.environ, "TERM": "xterm"}
    env.pop("NO_COLOR", None)
    said, status = on_terminal(argv, env)
    assert status == 0
    last = said.split("\r\033[K")[-1]
    assert re.match(r"\S+ KB of \S+ KB \033\[32m#{20}\033\[0m 100 %  0:00:00 left  \d+ events/s\r", last), said
    assert f" events={count} " in said
    plain, _ = on_terminal(argv, {**env, "NO_COLOR": "1"})
    assert "100 %" in plain and "\033[3" not in plain and "\033[0" not in plain
    for changed, words in (({"TERM": "dumb"}, []), ({}, ["--quiet"])):
        assert "\r\033[K" not in on_terminal(argv + words, {**env, **changed})[0]
