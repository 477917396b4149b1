# SPDX-License-Identifier: MIT
"""The daemon under the unit's own system call filter, without a capability: all that it does works, nothing else does."""
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from bus import Publisher
from certificates import Authority
from events import Fleet, bundle_of
from process import PYTHON, until
from test_sinks import as_records, delivered, rsyslog, socat
from test_tls import tls  # noqa: F401 pylint: disable=unused-import

HERE = os.path.dirname(os.path.abspath(__file__))
UNIT = os.path.join(HERE, "..", "..", "deploy", "cbtap.service")

# A sanitizer needs calls, and memory, that the unit does not give.
pytestmark = pytest.mark.without("address", "thread")

# What is tried, and the error that it must end in. The arguments are such that it would work without the filter, or fail
# in another way.
FORBIDDEN = """
import ctypes, errno, json, mmap, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    ctypes.set_errno(0)
    return errno.errorcode.get(ctypes.get_errno(), "0") if getattr(libc, name)(*arguments) == -1 else "worked"
def opened(family, kind):
    try:
        socket.socket(family, kind).close()
        return "worked"
    except OSError as e:
        return errno.errorcode[e.errno]
def mapped():
    try:
        mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
        return "worked"
    except OSError as e:
        return errno.errorcode[e.errno]
print(json.dumps({
    "ptrace": call("ptrace", 0, 0, 0, 0), "mount": call("mount", b"none", b"/mnt", b"tmpfs", 0, None),
    "chroot": call("chroot", b"/"), "setuid": call("setuid", 0), "chown": call("chown", b"/tmp", -1, -1),
    "reboot": call("reboot", 0), "bpf": call("syscall", 321, 0, 0, 0), "init_module": call("syscall", 175, 0, 0, b""),
    "perf_event_open": call("syscall", 298, 0, 0, 0, 0, 0), "process_vm_readv": call("syscall", 310, 1, 0, 0, 0, 0, 0),
    "userfaultfd": call("syscall", 323, 0), "io_uring_setup": call("syscall", 425, 1, 0),
    "keyctl": call("syscall", 250, 0, 0, 0), "kcmp": call("syscall", 312, 1, 1, 0, 0, 0), "unshare": call("unshare", 0x10000000), "personality": call("personality", 8),
    "setpriority": call("setpriority", 0, 0, -5), "AF_PACKET": opened(17, socket.SOCK_RAW),
    "AF_NETLINK": opened(16, socket.SOCK_RAW), "writable code": mapped()}))
"""


def confined(action):
    return [PYTHON, "-B", os.path.join(HERE, "confine.py"), UNIT, action]


def test_what_the_daemon_has_no_need_of_is_refused():
    done = subprocess.run([*confined("errno"), sys.executable, "-c", FORBIDDEN], stdout=subprocess.PIPE, timeout=60, check=True)
    found = json.loads(done.stdout)
    assert found.pop("AF_PACKET") == "EAFNOSUPPORT" and found.pop("AF_NETLINK") == "EAFNOSUPPORT"
    assert found.pop("setpriority") == "EACCES"  # it may be lowered
    assert set(found.values()) == {"EPERM"}, found


def process_status(pid, *keys):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        lines = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    return [lines[key] for key in keys]


@pytest.mark.parametrize("action,dead_letter_topic", [("errno", ""), ("kill", ""), ("kill", "confined-dlq")])
def test_everything_works_under_the_filter(run, tls, redis, kafka, pb, action, dead_letter_topic):  # noqa: F811
    """Both sources, TLS, dead letters to Kafka and to disk, a body streamed to disk, a lost connection, a reload, the
    HTTP listener, an orderly end."""
    fleet = Fleet(pb, sensors=4)
    sink = {"kafka.compression.codec": "zstd", "dead_letter_topic": dead_letter_topic}
    bus = tls.source(**{"sasl": "external", "url": tls.url("localhost", user=""), "tls.cert": tls.client[0],
                        "tls.key": tls.client[1], "heartbeat_ms": 1000})
    tap = run.tap(kafka, tls.rabbitmq, redis, cbtap={"frame_max_bytes": 20000},
                  **{"source.bus": bus, "sink.kafka": sink})
    tap.launcher = confined(action)
    tap.start()
    assert process_status(tap.process.pid, "CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp", "Seccomp_filters") == \
        ["0" * 16] * 3 + ["1", "2", "2"]
    with Publisher(tls.rabbitmq) as publisher:
        for sensor in fleet.sensors:
            publisher.raw(fleet.bundle(sensor, 20), {"sensorId": sensor})
        publisher.raw(bundle_of([b"\xff" * 40]), {"sensorId": 100})
        publisher.raw(b"x" * 30000)
    with redis.client() as client:
        assert client.publish("ingress.event.procstart", fleet.record(100, with_env=True)) == 1
    tap.wait_rest(frames=7)
    dead = len(kafka.records(dead_letter_topic)) if dead_letter_topic else 0
    stored = [name for name in os.listdir(run.dead_dir) if name.endswith(".bin")]
    assert (len(stored), dead) == ((1, 1) if dead_letter_topic else (2, 0)), stored

    said = len(tap.log())
    with redis.client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    tap.wait(lambda m: m("cbtap_source_connects_total", source="pubsub") == 2)
    tap.process.signal(signal.SIGHUP)
    tap.wait_log(r"^info the TLS files are read with the next connection.* source=bus", after=said)
    tap.wait_log(r"^info configuration loaded again", after=said)
    tap.process.signal(signal.SIGUSR1)
    tap.wait_log(r"^info status ", after=said)
    for path in ("/", "/healthz", "/readyz", "/status.json", "/metrics"):
        assert tap.get(path)[0] == 200, path
    with Publisher(tls.rabbitmq) as publisher:
        publisher.raw(fleet.bundle(101, 5), {"sensorId": 101})
    tap.wait_rest(frames=8)
    tap.stop()
    fleet.check(kafka.records(run.topic), ordered=False)


def confined_sinks(run):
    """The sinks beside Kafka, and the programs that take what those over the network send."""
    authority = Authority(str(run.directory), "ca")
    cert, key = authority.issue("peer", "peer", "serverAuth", "IP:127.0.0.1")
    peers = {"tls": socat(run.directory, f"OPENSSL-LISTEN:{{port}},cert={cert},key={key},verify=0").start(),
             "syslog": rsyslog(run.directory, "tcp").start()}
    sinks = {"file": {"type": "file", "path": run.directory / "events.ndjson", "rotate_bytes": 20_000, "gzip": "true",
                      "fsync_interval_ms": 50},
             "tls": {"type": "tcp", "address": f"127.0.0.1:{peers['tls'].port}", "tls": "true", "tls.ca": authority.ca},
             "syslog": {"type": "syslog", "protocol": "tcp", "address": f"127.0.0.1:{peers['syslog'].port}"}}
    return peers, {f"sink.{name}": keys | {"dead_letter_dir": run.dead_dir} for name, keys in sinks.items()}


def closed_files(path):
    return sorted(path.parent.glob(f"{path.name}.*"))


def rotated_lines(path):
    """Of the file and of those that were closed before it, of a daemon that has ended: up to then it may close another."""
    closed = (gzip.decompress(one.read_bytes()) if one.suffix == ".gz" else one.read_bytes() for one in closed_files(path))
    return b"".join([*closed, path.read_bytes()]).split(b"\n")[:-1]


@pytest.mark.parametrize("action", ["errno", "kill"])
def test_archive_spool_and_the_other_sinks_work_under_the_filter(run, redis, kafka, pb, action):
    """Files that come and are moved away, a spool on disk, a file that is rotated and compressed, TLS, syslog."""
    if not shutil.which("socat") or not shutil.which("rsyslogd", path="/usr/sbin"):
        pytest.skip("SKIPPED FOR WANT OF socat OR rsyslog")
    fleet = Fleet(pb, sensors=3)
    tree, done = run.directory / "archive", run.directory / "done"
    tree.mkdir()
    peers, sinks = confined_sinks(run)
    tap = run.tap(kafka, redis=redis, **sinks, **{
        "source.pubsub": {"spool_dir": run.directory / "spool", "spool_fsync": "interval"},
        "source.old": {"type": "archive", "path": tree, "after": f"move:{done}", "rescan_ms": 500, "quiet_ms": 500,
                       "checkpoint": run.directory / "archive.checkpoint", "checkpoint_interval_ms": 100}})
    tap.launcher = confined(action)
    tap.start()
    for sensor in (100, 101):
        (tree / str(sensor)).mkdir()
        (tree / str(sensor) / "a.log").write_bytes(fleet.bundle(sensor, 50))
        (tree / str(sensor) / "b.log.gz").write_bytes(gzip.compress(fleet.bundle(sensor, 50)))
    with redis.client() as client:
        for _ in range(50):
            assert client.publish("ingress.event.filemod", fleet.record(102, with_env=True)) == 1
    for sink in ("kafka", "file", "tls", "syslog"):
        delivered(tap, fleet.total, sink)
    until(lambda: len(list(done.rglob("*.*"))) == 4, 20, "the files to be moved")
    out = run.directory / "events.ndjson"
    until(lambda: closed_files(out) and all(one.suffix == ".gz" for one in closed_files(out)), 20,
          lambda: f"all to be compressed: {closed_files(out)}")
    for peer in peers.values():
        until(lambda peer=peer: len(peer.lines()) >= fleet.total, 20, f"{peer.argv[0]} to write all")
    tap.stop()
    for peer in peers.values():
        peer.stop()
    fleet.check(kafka.records(run.topic))
    fleet.check(as_records(rotated_lines(out)))
    for peer in peers.values():
        fleet.check(as_records(line[line.index(b"{"):] for line in peer.lines()))
