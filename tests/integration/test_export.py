# SPDX-License-Identifier: MIT
"""cbtap export where it takes more than a program and files: a terminal, a Kafka, a tree that grows."""
import json
import os
import pty
import re
import subprocess
import time

import pytest

from events import Fleet, bundle_of
from peers import as_records, objects, socat
from process import ServiceError, until

# Of tree_of: events 5 to 9 of host-101.
SELECTION = ("--host", "HOST-1*1", "--since", "2023-11-14T22:13:25Z", "--until", "2023-11-14T22:13:30Z")


def tree_of(pb, directory, folders, files, records, with_env=False):
    """A tree as the server archives it: folder 100 for the first sensor, and so on. How many events."""
    fleet = Fleet(pb, sensors=folders)
    for sensor in range(100, 100 + folders):
        (directory / str(sensor)).mkdir(parents=True)
        for number in range(files):
            (directory / str(sensor) / f"{number}.log").write_bytes(bundle_of([fleet.record(sensor, with_env) for _ in range(records)]))
    return folders * files * records


def come_whole(path, aside, body):
    """A file that is there at once: one whose writer is held up between open and write looks quiet, and done."""
    aside.write_bytes(body)
    aside.rename(path)


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


def export_argv(run, target, *words, **keys):
    """`cbtap export --to TARGET WORDS`, with keys of the sink, whose dots are written as __."""
    keys = {"dead_letter_dir": run.dead_dir} | keys
    settings = (f"sink.to.{key.replace('__', '.')}={value}" for key, value in keys.items())
    return [run.binary, "export", "--to", target, *(part for setting in settings for part in ("-s", setting)), *map(str, words)]


def ended(run, argv):
    """Its exit status and what it says."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=60 * run.scale.slow, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


def export_to(run, target, *words, **keys):
    return ended(run, export_argv(run, target, *words, **keys))


def to_kafka(run, kafka, *words):
    return export_argv(run, f"kafka:{run.topic}", *words, kafka__bootstrap__servers=kafka.bootstrap,
                       dead_letter_topic=run.dead_topic)


def export_to_kafka(run, kafka, *words):
    return ended(run, to_kafka(run, kafka, *words))


def export_to_stdout(run, *words):
    """Its exit status, what it says, and its lines."""
    done = subprocess.run([run.binary, "export", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=60 * run.scale.slow, check=False)
    return done.returncode, done.stderr.decode(), done.stdout.splitlines()


def summary(said):
    return re.findall(r"^info exported .*$", said, re.MULTILINE)


@pytest.mark.parametrize("words", [(), SELECTION], ids=["all", "selected"])
@pytest.mark.parametrize("kind", ["file", "kafka", "tcp", "udp", "syslog", "syslog:udp"])
def test_a_sink_gets_what_standard_output_gets(request, run, pb, tmp_path, kind, words):
    tree = tmp_path / "tree"
    count = tree_of(pb, tree, folders=2, files=2, records=10, with_env=True)
    status, said, expected = export_to_stdout(run, *words, tree)
    assert status == 0 and len(expected) == (5 if words else count), said
    assert f" events={len(expected)} dead_letters=0 filtered={count - len(expected)}" in summary(said)[0]
    expected_summary, peer = summary(said), None
    if kind == "file":
        status, said = export_to(run, f"file:{tmp_path / 'out'}", *words, tree)
        lines = (tmp_path / "out").read_bytes().splitlines()
    elif kind == "kafka":
        kafka = request.getfixturevalue("kafka")
        status, said = export_to_kafka(run, kafka, *words, tree)
        lines = [record["payload"] for record in kafka.records(run.topic)]
    else:
        peer = socat(tmp_path, "UDP-RECV:{port}" if "udp" in kind else "TCP-LISTEN:{port}").start()
        status, said = export_to(run, f"{kind}:127.0.0.1:{peer.port}", *words, tree)
        lines = until(lambda: (have := list(objects(peer.data()))) and len(have) >= len(expected) and have, 20,
                      lambda: f"all events to be there: {peer.data()!r}\n{said}")
        peer.stop()
    assert status == 0, said
    assert sorted(lines) == sorted(expected)
    assert summary(said) == expected_summary


def test_dead_letters_say_where_they_were_in_the_file(run, pb, tmp_path):
    fleet = Fleet(pb, sensors=1)
    records = [fleet.record(100) for _ in range(4000)]  # several frames of 256 KiB
    records[10] = records[3500] = b"\xff"
    (tmp_path / "100").mkdir()
    log = tmp_path / "100" / "1.log"
    log.write_bytes(bundle_of(records) + b"torn")
    status, expected, lines = export_to_stdout(run, log)
    assert status == 1
    places = sorted((int(record), int(offset), reason) for record, offset, reason in
                    re.findall(r"left out .* record=(\d+) offset=(\d+) reason=(\w+)", expected))
    assert [(record, reason) for record, _, reason in places] == [(10, "malformed"), (3500, "malformed"), (4000, "truncated")]
    status, said = export_to(run, f"file:{tmp_path / 'out'}", log)
    assert status == 1 and summary(said) == summary(expected), said
    assert (tmp_path / "out").read_bytes().splitlines() == lines
    letters = [json.loads(path.read_text()) for path in run.dead_dir.glob("*.json")]
    assert sorted((letter["index"], letter["offset"], letter["reason"]) for letter in letters) == places
    assert {letter["file"] for letter in letters} == {str(log)}


def test_dead_letters_say_which_notification_of_the_file_they_were(run, tmp_path):
    hits = tmp_path / "hits"
    hits.write_text('{"a":1}\n\n[1]\n{"a":2}\n')
    status, said, lines = export_to_stdout(run, "--notification", "feed.7.hit", hits)
    assert status == 1 and "line=3 offset=9 reason=not_json" in said and len(lines) == 2
    expected = summary(said)
    status, said = export_to(run, f"file:{tmp_path / 'out'}", "--notification", "feed.7.hit", hits)
    assert status == 1 and summary(said) == expected, said
    assert (tmp_path / "out").read_bytes().splitlines() == lines
    letter, = [json.loads(path.read_text()) for path in run.dead_dir.glob("*.json")]
    assert (letter["file"], letter["index"], letter["offset"]) == (str(hits), 2, 9)


def test_a_tcp_peer_may_go_away_and_come_back(run, pb, tmp_path):
    fleet = Fleet(pb, sensors=1)
    before, after = fleet.bundle(100, 20), fleet.bundle(100, 20)
    (tmp_path / "first").write_bytes(before)
    peer = socat(tmp_path, "TCP-LISTEN:{port}").start()
    # Standard input is awaited, and with it the end, while the peer goes.
    argv = export_argv(run, f"tcp:127.0.0.1:{peer.port}", "--header", "sensorId=100", tmp_path / "first", "-")
    with open(tmp_path / "said", "wb") as said, subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=said) as process:
        def log():
            return (tmp_path / "said").read_text()

        try:
            until(lambda: len(peer.lines()) == 20, 20 * run.scale.slow, lambda: f"20 events: {peer.lines()}\n{log()}")
            peer.stop()
            until(lambda: "error cannot deliver" in log(), 20 * run.scale.slow, lambda: f"it to notice:\n{log()}")
            process.stdin.write(after)
            process.stdin.close()
            peer.start()
            assert process.wait(60 * run.scale.slow) == 0, log()
        finally:
            process.kill()
    until(lambda: len(peer.lines()) >= 40, 20, lambda: f"all events: {peer.lines()}")
    peer.stop()
    fleet.check(as_records(peer.lines()), duplicates=True)
    assert "delivers again" in log() and " events=40 dead_letters=0 filtered=0" in summary(log())[0]


def test_files_go_to_kafka_in_order_and_are_removed_when_they_are_there(run, kafka, pb, tmp_path):
    tree = tmp_path / "tree"
    # Of several frames each, of 120 KiB.
    count = tree_of(pb, tree, folders=2, files=3, records=run.scale(8000))
    broken = tree / "100" / "2.log"
    broken.write_bytes(broken.read_bytes() + b"torn")
    status, said = export_to_kafka(run, kafka, "--remove", tree)
    assert status == 1 and f'error some of it is a dead letter file={broken} reason=truncated' in said, said
    assert [path for path in tree.rglob("*") if path.is_file()] == [broken]
    assert f"info exported files=6 unreadable=0 events={count} dead_letters=1 filtered=0\n" in said
    assert "info removed files=5 kept=0\n" in said and "info settled files=5 set_aside=1\n" in said
    events = [json.loads(record["payload"]) for record in kafka.records(run.topic)]
    assert len(events) == count
    seconds = {}
    for event in events:  # a partition's come in its order, and an endpoint's are in one
        seconds.setdefault(event["sensor_id"], []).append(event["timestamp"])
    assert len(seconds) == 2 and all(of == sorted(of) for of in seconds.values())
    assert [record["payload"] for record in kafka.records(run.dead_topic)] == [b"torn"]

    plain = subprocess.run([run.binary, "export", "--quiet", broken], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                           check=False).stdout
    ours = [event for event in events if event["sensor_id"] == 100]
    assert [json.loads(line) for line in plain.splitlines()] == ours[-plain.count(b"\n"):]


@pytest.mark.without("thread")
def test_a_sink_that_is_not_there_loses_and_removes_nothing(run, kafka, pb, tmp_path):
    tree = tmp_path / "tree"
    tree_of(pb, tree, folders=1, files=2, records=3)
    argv = [run.binary, "export", "--remove", "--to", f"kafka:{run.topic}", "-s", "sink.to.kafka.bootstrap.servers=127.0.0.1:1",
            "-s", "cbtap.shutdown_timeout_ms=100", str(tree)]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        while "127.0.0.1:1" not in process.stderr.readline():
            pass
        process.terminate()
        said = process.stderr.read()
        assert process.wait(60) == 1, said
    assert len(list(tree.rglob("*.log"))) == 2
    assert "info removed files=0 kept=0\n" in said and "info settled files=0 set_aside=0\n" in said


def test_a_pipe_that_says_nothing_does_not_hold_up_the_end(run):
    argv = [run.binary, "export", "--to", "tcp:127.0.0.1:1", "-"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while "connected source=export" not in process.stderr.readline():
            pass
        process.terminate()
        try:
            assert process.wait(20 * run.scale.slow) == 1
        finally:
            process.kill()


def test_follow_takes_what_is_new_or_grows_once_and_ends_in_order(run, pb, tmp_path):
    tree = tmp_path / "tree"
    count = tree_of(pb, tree, folders=2, files=2, records=3)
    fleet = Fleet(pb, sensors=3)
    argv = [run.binary, "export", "--follow", "--quiet", str(tree)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        def await_events(number):
            return [json.loads(process.stdout.readline()) for _ in range(number)]

        await_events(count)
        growing, record = tree / "100" / "growing", bundle_of([fleet.record(100)])
        begun = tree / "100" / "begun"
        begun.write_bytes(record[:9])  # half a record waits for the rest
        growing.write_bytes(record + record[:7])
        assert len(await_events(1)) == 1
        with growing.open("ab") as f:
            f.write(record[7:] + record)
        assert len(await_events(2)) == 2
        with begun.open("ab") as f:
            f.write(record[9:])
        assert len(await_events(1)) == 1
        (tree / "102").mkdir()
        (tree / "aside").write_bytes(bundle_of([fleet.record(102) for _ in range(5)]))
        (tree / "aside").rename(tree / "102" / "moved")
        assert len(await_events(5)) == 5
        # Another file under the same number, and no shorter, is taken from its beginning.
        other = bundle_of([fleet.record(100) for _ in range(3)])
        growing.write_bytes(other + other[:7])
        assert len(await_events(3)) == 3
        process.terminate()
        out, said = process.communicate(timeout=60)
    assert out == "" and process.returncode == 1
    assert said.endswith("error files end amid a record, which is left out files=1\n"), said


def test_follow_ends_amid_a_large_file(run, pb, tmp_path):
    large = tmp_path / "large"
    fleet = Fleet(pb, sensors=1)
    large.write_bytes(fleet.bundle(100, run.scale(20000)))
    # One thread, which takes the signal before it writes on: another might have written it all by then.
    argv = [run.binary, "export", "--follow", "--remove", "--jobs", "1", str(large)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        first = os.read(process.stdout.fileno(), 1).decode()
        process.terminate()  # it waits for the pipe
        out, said = process.communicate(timeout=60 * run.scale.slow)
    lines = (first + out).splitlines()
    assert process.returncode == 0, said
    assert "warning stopped amid a file" in said and f"events={len(lines)} " in said, said
    assert 0 < len(lines) < fleet.total and all(json.loads(line) for line in lines)
    assert large.exists()


def test_follow_says_once_that_a_folder_cannot_be_read_until_it_could_be(run, pb, tmp_path):
    tree = tmp_path / "tree"
    count = tree_of(pb, tree, folders=2, files=1, records=1)
    fleet = Fleet(pb, sensors=2)
    closed, gone = tree / "101", tmp_path / "gone"
    gone.mkdir()
    # root, too, is to find it closed
    bare = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    argv = [*bare, run.binary, "export", "--follow", "--quiet", str(tree), str(gone)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        def await_round(directory):
            """A new file there is found by a round that is begun after this."""
            come_whole(directory / f"{time.monotonic_ns()}.log", tmp_path / "new", bundle_of([fleet.record(100)]))
            process.stdout.readline()

        for _ in range(count):
            process.stdout.readline()
        for _ in range(2):
            closed.chmod(0)
            gone.rename(tmp_path / "elsewhere")
            await_round(tree / "100")
            await_round(tree / "100")
            closed.chmod(0o755)
            (tmp_path / "elsewhere").rename(gone)
            await_round(closed)
            await_round(gone)
        process.terminate()
        # A round may meet what is being renamed or closed: what happens to a file there is said each time.
        said = [line for line in process.communicate(timeout=60)[1].splitlines()
                if line.startswith("error") and f"file={closed}/" not in line]
    assert process.returncode == 1
    assert sorted(said) == sorted(2 * [f'error cannot read file={closed} reason="Permission denied"',
                                       f'error cannot read file={gone} reason="No such file or directory"']), said


@pytest.mark.without("thread")
def test_follow_with_remove_leaves_an_empty_tree(run, pb, tmp_path):
    tree, out = tmp_path / "tree", tmp_path / "out"
    count = tree_of(pb, tree, folders=2, files=10, records=3)
    fleet = Fleet(pb, sensors=1)
    with open(out, "wb") as f, subprocess.Popen([run.binary, "export", "--follow", "--remove", str(tree)], stdout=f,
                                                stderr=subprocess.PIPE, text=True) as process:
        def await_empty():
            try:
                until(lambda: not list(tree.rglob("*.log")), 30 * run.scale.slow, "an empty tree")
            except ServiceError:
                process.kill()
                raise

        await_empty()
        for number in range(5):
            come_whole(tree / "100" / f"new-{number}.log", tmp_path / "new", bundle_of([fleet.record(100)]))
        await_empty()
        process.terminate()
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    assert "info removed files=25 kept=0" in said
    assert out.read_bytes().count(b"\n") == count + 5


def reads(pid, path):
    """Whether the process has that file open."""
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            if os.readlink(f"/proc/{pid}/fd/{fd}") == str(path):
                return True
        except FileNotFoundError:
            pass
    return False


def test_follow_feeds_a_sink_removes_what_is_there_and_ends_in_order(run, kafka, pb, tmp_path):
    tree = tmp_path / "tree"
    fleet = Fleet(pb, sensors=2)
    for sensor in (100, 101):
        (tree / str(sensor)).mkdir(parents=True)
        (tree / str(sensor) / "first").write_bytes(fleet.bundle(sensor, 3))
    growing, large = tree / "100" / "growing", tree / "101" / "large"
    small = ("-s", "cbtap.inflight_bytes=4194304")  # so that SIGTERM comes amid the large one
    with subprocess.Popen(to_kafka(run, kafka, "--follow", "--remove", *small, tree), stderr=subprocess.PIPE, text=True) as process:
        def await_gone(*paths):
            until(lambda: process.poll() is not None or not any(path.exists() for path in paths), 30 * run.scale.slow,
                  lambda: f"the end of {paths}")

        try:
            await_gone(tree / "100" / "first", tree / "101" / "first")
            record, more = fleet.bundle(100, 1), fleet.bundle(100, 2)
            come_whole(growing, tmp_path / "new", record + more[:7])  # half a record waits for the rest
            come_whole(tree / "101" / "later", tmp_path / "new", fleet.bundle(101, 1))
            await_gone(tree / "101" / "later")
            assert growing.exists()
            with growing.open("ab") as f:
                f.write(more[7:])
            await_gone(growing)
            come_whole(large, tmp_path / "new", fleet.bundle(101, run.scale(60000)))
            until(lambda: not large.exists() or reads(process.pid, large), 30 * run.scale.slow, "it to be read")
            process.terminate()
            said = process.communicate(timeout=60 * run.scale.slow)[1]
        except ServiceError:
            process.kill()
            raise
    assert process.returncode == 0, said
    assert "unreadable=0" in said and "dead_letters=0" in said, said
    assert large.exists() == ("stopped amid a file" in said), said
    status, said = export_to_kafka(run, kafka, "--remove", tree)
    assert status == 0 and not [path for path in tree.rglob("*") if path.is_file()], said
    fleet.check(kafka.records(run.topic), duplicates=True)
    assert not kafka.records(run.dead_topic)
