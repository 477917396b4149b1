# SPDX-License-Identifier: MIT
"""Each allocation of a command fails in turn, alone and with all that follow: it says so and ends with 1, or does without."""
import io
import json
import os
import re
import signal
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from alloc import EVER, Allocations

TIME_LIMIT_S = 60
PARALLEL = 6  # most of what a daemon takes is the waiting of librdkafka's end
STARTED = "info started "
CONFIG = """\
[cbtap]
http_listen = 127.0.0.1:0
server_url = https://edr.example/
workers = 2
inflight_bytes = 16777216
[filter]
types = procstart,netconn,regmod,feed.*
drop = regmod
[source.bus]
type = amqp
url = amqp://user:${{ALLOC_PASSWORD}}@127.0.0.1:1/%2F
queue = cbtap
events = watchlist.#,feed.#
queue.arguments.x-one = 1
queue.arguments.x-two = text
[source.pubsub]
type = redis
host = 127.0.0.1
port = 1
password = @{directory}/password
channels = ingress.event.procstart,ingress.event.netconn
[sink.kafka]
type = kafka
kafka.bootstrap.servers = 127.0.0.1:1
kafka.linger.ms = 5
dead_letter_topic =
dead_letter_dir = {directory}/dead
"""


def record(number):
    """A CbEventMsg of nothing but its header: version 4 and a time."""
    return bytes([10, 4, 8, 4, 32, number % 128])


def bundle(count):
    return b"".join(len(record(n)).to_bytes(4, "little") + record(n) for n in range(1, count + 1))


def two_entries():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("a.log", bundle(50))
        z.writestr("b.log", bundle(20))
    return out.getvalue()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The working folder of all commands."""
    directory = tmp_path_factory.mktemp("alloc")
    (directory / "cbtap.conf").write_text(CONFIG.format(directory=directory))
    (directory / "password").write_text("secret\n")
    (directory / "a.log").write_bytes(bundle(3000) + b"\1")
    (directory / "b.zip").write_bytes(two_entries())
    (directory / "hits.ndjson").write_text('{"docs": [{"process_name": "a"}, {"process_name": "b"}], "sensor_id": 1}\n' * 3)
    (directory / "dead").mkdir()
    for number in range(3):
        name = f"20260101T00000{number}.000Z-1-{number}"
        (directory / "dead" / f"{name}.bin").write_bytes(bundle(5) + b"\1")
        (directory / "dead" / f"{name}.json").write_text(json.dumps({
            "unix_ms": 1767225600000 + number, "reason": "truncated", "detail": "", "source": "bus", "routing_key": "",
            "content_type": "", "framing": "bundle", "sensor_id": number, "entry": 0, "index": 0, "offset": 0,
            "bytes": len(bundle(5)) + 1}))
    return directory


class Ended:
    """How a run of the program ended."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err.decode(errors="replace")


def follow(process, until):
    """Reads standard error until that text is there, or its end."""
    said = b""
    while until.encode() not in said:
        part = os.read(process.stderr.fileno(), 65536)
        if not part:
            break
        said += part
    return said


def run(allocations, arguments, cwd, env):
    """The daemon is told to end once it has started."""
    process = subprocess.Popen([allocations.program, *arguments], cwd=cwd, env=env | allocations.env,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        said = b""
        if arguments[0] == "run":
            said = follow(process, STARTED)
            process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=TIME_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise AssertionError("it does not end") from None
    return Ended(process.returncode, out, said + err)


REPORT = re.compile(r"Sanitizer|runtime error:")


def judge(ended, whole):
    """None, or what is wrong. `whole` is how it ends where nothing fails."""
    if REPORT.search(ended.err):
        return "a sanitizer's report"
    if ended.status not in (0, 1):
        return f"status {ended.status}"
    if ended.status == 0 and ended.out != whole.out and b"no memory" not in ended.out:
        return "it says that all is well, and its output is another"
    if ended.status == 1 and ended.out == whole.out and not re.search(r"^error ", ended.err, re.MULTILINE):
        return "status 1 without a word"
    return None


def exhaust(make, arguments, files, env, exhaustive, judged=judge, known=()):
    """Runs the command once for each allocation that is to fail, and once more for it and all behind it."""
    whole_run = make("whole")
    whole_run.fail(0)
    whole = run(whole_run, arguments, files, env)
    assert whole.status in (0, 1) and not REPORT.search(whole.err), whole.err
    todo = whole_run.numbers(exhaustive, known)
    assert todo, "nothing of it is counted"
    faults = []

    def fail(task):
        number, last = task
        allocations = make(f"{number}-{'on' if last else 'alone'}")
        allocations.fail(number, last)
        ended = run(allocations, arguments, files, env)
        if allocations.failed > 0:
            fault = judged(ended, whole)
            if fault:
                faults.append(f"{allocations.where(number)}{' and all behind it' if last else ''}: {fault}\n{ended.err[-3000:]}")
        allocations.close()

    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(fail, [(n, None) for n in todo] + [(n, EVER) for n in todo]))
    assert not faults, f"{len(faults)} of {2 * len(todo)} runs went wrong:\n" + "\n".join(faults[:5])
    print(f"{' '.join(arguments)}: {2 * len(todo)} runs, {whole_run.calls} allocations")


OVERRIDES = ["-s", "cbtap.workers=1", "-s", "filter.types=*", "-s", "sink.kafka.kafka.batch.size=10000"]
COMMANDS = {
    "check": ["check", "--print", "-c", "cbtap.conf", *OVERRIDES],
    "help": ["help", "run"],
    "export": ["export", "a.log", "b.zip"],
    "dlq show": ["dlq", "show", "20260101T000001.000Z-1-1", "-c", "cbtap.conf"],
    "dlq replay": ["dlq", "replay", "--dry-run", "--all", "-c", "cbtap.conf"],
}
# Much the same places.
ONLY_EXHAUSTIVE = {
    "check, plain": ["check", "-c", "cbtap.conf"],
    "export leef": ["export", "--format", "leef", "a.log", "b.zip"],
    "export raw": ["export", "--format", "raw", "a.log", "b.zip"],
    "export notifications": ["export", "--notification", "feed.1.ingress.hit.process", "hits.ndjson"],
    "dlq list": ["dlq", "list", "-c", "cbtap.conf"],
    "dlq show raw": ["dlq", "show", "--raw", "20260101T000002.000Z-1-2", "-c", "cbtap.conf"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_own_allocation_that_fails_is_an_error(name, files, make_own, env, exhaustive):
    exhaust(make_own, COMMANDS[name], files, env, exhaustive)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ONLY_EXHAUSTIVE)
def test_own_allocation_that_fails_in_a_like_command(name, files, make_own, env, exhaustive):
    exhaust(make_own, ONLY_EXHAUSTIVE[name], files, env, exhaustive)


def test_daemon_that_cannot_start_says_so_and_one_that_can_stops_on_sigterm(files, make_own, env, exhaustive):
    """What check allocates as well is tested with that."""
    check = make_own("check")
    check.fail(0)
    run(check, ["check", "-c", "cbtap.conf"], files, env)
    known = {check.place(number) for number in range(1, check.calls + 1)}
    exhaust(make_own, ["run", "-c", "cbtap.conf"], files, env, exhaustive, known=known)
