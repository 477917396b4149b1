# SPDX-License-Identifier: MIT
"""The archive source: files of sensor events reach Kafka whole, whatever ends in between, and leave when they have."""
import errno
import gzip
import json
import os
import random
import subprocess
import time
from pathlib import Path

import pytest

import events
from process import until

INTERVAL_MS = 200
ENDPOINTS = 50


@pytest.fixture
def tree(tmp_path):
    path = tmp_path / "archive"
    path.mkdir()
    return path


def archive(run, kafka, tree, **keys):
    keys = {"type": "archive", "path": tree, "checkpoint": run.directory / "archive.checkpoint",
            "checkpoint_interval_ms": INTERVAL_MS, "follow": "false", "quiet_ms": 0} | keys
    return run.tap(kafka, **{"source.old": keys})


def loadgen(run, *args):
    command = [os.path.join(os.path.dirname(run.binary), "cbtap-loadgen"), *map(str, args)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)


def make_fleet(run, tree, count, shape="bundle"):
    made = loadgen(run, "archive", "--dir", tree, "--quiet", "--events", count, "--endpoints", ENDPOINTS, "--shape", shape)
    assert made.returncode == 0, made.stderr


def verify(run, kafka, count, *more, shape="bundle"):
    found = loadgen(run, "verify", "--kafka", kafka.bootstrap, "--topic", run.topic, "--quiet", "--json", "--events", count,
                    "--endpoints", ENDPOINTS, "--expect", count, "--shape", shape, *more)
    assert found.returncode == 0, found.stdout + found.stderr
    return json.loads(found.stdout)


def files_in(tree):
    return sorted(path for path in tree.rglob("*") if path.is_file())


def all_delivered(tap, files, timeout_s=60):
    tap.wait(lambda m: m("cbtap_archive_files_total") >= files and m("cbtap_archive_left_files") == 0
             and m.at_rest(), timeout_s, f"{files} files to be delivered").assert_balance_at_rest()
    return tap.metrics()  # as wait_rest


@pytest.mark.corpus
def test_real_files_equal_golden(run, kafka, tree):
    """In folders without a sensor id, one of them by gzip; oldest first."""
    names = ["archived-2013.log"] + sorted(f"events/{name}" for name in os.listdir(os.path.join(events.CORPUS, "events")))
    for number, name in enumerate(names):
        path = tree / os.path.basename(name)
        body = events.corpus_file(name)
        if number == 1:
            path = path.with_suffix(".log.gz")
            body = gzip.compress(body)
        path.write_bytes(body)
        os.utime(path, (1_600_000_000 + number,) * 2)
    tap = archive(run, kafka, tree).start()
    metrics = all_delivered(tap, len(names))
    expected = {name: events.golden(os.path.splitext(name)[0] + ".ndjson") for name in names}

    def by_type(lines):
        parts = {}
        for line in lines:
            parts.setdefault((line["type"], line["sensor_id"]), []).append(line)
        return parts

    found = by_type(events.parse(record["payload"]) for record in kafka.records(run.topic))
    wanted = by_type(line for name in names for line in expected[name])
    assert {key: len(lines) for key, lines in found.items()} == {key: len(lines) for key, lines in wanted.items()}
    for key, lines in wanted.items():
        events.assert_same_lines(found[key], lines)
    assert metrics("cbtap_decode_dead_letters_total") == 0
    assert metrics("cbtap_archive_bytes_total") == sum(path.stat().st_size for path in files_in(tree))
    assert metrics("cbtap_source_settled_frames_total") == metrics("cbtap_source_received_frames_total")
    tap.wait_log(rf"^info all of the archive is delivered.* files={len(names)}")


@pytest.mark.without("address", "thread")
def test_kill_9_ten_times_loses_nothing_and_repeats_one_interval(run, kafka, tree):
    """What one crash repeats is at most what was in flight, and what was settled in an interval."""
    count, inflight_bytes, interval_ms = 250_000, 4 << 20, 100
    make_fleet(run, tree, count)
    bytes_an_event = sum(path.stat().st_size for path in files_in(tree)) / count
    tap = archive(run, kafka, tree, checkpoint_interval_ms=interval_ms)
    tap.sections["cbtap"]["inflight_bytes"] = inflight_bytes
    dice = random.Random(6)
    per_second = 0
    kills_amid_work = 0
    for _ in range(10):
        tap.start(ready=False)
        metrics = tap.wait(lambda m: m("cbtap_source_received_frames_total") > 0, what="the first frame")
        end = time.monotonic() + 0.02 + 0.2 * dice.random()
        samples = [(time.monotonic(), 0)]
        while time.monotonic() < end:
            metrics = tap.metrics()
            samples.append((time.monotonic(), metrics("cbtap_sink_delivered_records_total")))
        kills_amid_work += metrics("cbtap_archive_left_files") != 0
        tap.kill()
        # The fastest of any stretch that is not too short to tell.
        per_second = max([per_second] + [(n - m) / (u - t) for t, m in samples for u, n in samples if u - t > 0.04])
    said = len(tap.log())
    tap.start()
    # Nothing is left, either, before it has looked for what there is.
    tap.wait_log(r"^info all of the archive is delivered", 120, said)
    all_delivered(tap, 0)
    result = verify(run, kafka, count)
    bound = 10 * (inflight_bytes / 2 / bytes_an_event + per_second * interval_ms / 1000)
    print(f"{result['duplicates']} of {count} events repeated after 10 kills, {kills_amid_work} of them amid work; bound "
          f"{bound:.0f} at {per_second:.0f} events/s")
    assert result["missing"] == 0 and result["out_of_order"] == 0 and result["events"] == count
    assert kills_amid_work >= 5 and 0 < result["duplicates"] <= bound


def test_remove_takes_away_what_is_delivered_and_nothing_else(run, kafka, tree, scale):
    """Kafka paused: no file goes. Kafka back: all go, and every event was there."""
    count = scale(30_000)
    tap = archive(run, kafka, tree, follow="true", after="remove", rescan_ms=1000, quiet_ms=500).start()
    kafka.pause()
    make_fleet(run, tree, count, shape="zip")
    files = len(files_in(tree))
    size = sum(path.stat().st_size for path in files_in(tree))
    # What is left is told after what is in flight: files, then bytes, then seconds.
    tap.wait(lambda m: m("cbtap_inflight_frames") == m("cbtap_archive_left_files") == files and
             m("cbtap_archive_left_bytes") == size, what=f"{files} files of {size} bytes to be in flight, and left")
    paused_at = time.monotonic()
    until(lambda: time.monotonic() - paused_at > 3 * INTERVAL_MS / 1000, 10, "three intervals to pass")
    assert len(files_in(tree)) == files and tap.metrics()("cbtap_archive_files_total") == 0
    kafka.resume()
    all_delivered(tap, files)
    tap.wait(lambda m: m("cbtap_archive_left_bytes") == 0 and m("cbtap_archive_left_seconds") == 0, what="nothing to be left")
    until(lambda: not files_in(tree), 20, lambda: f"all files to be removed, {files_in(tree)[:3]}")
    result = verify(run, kafka, count, "--no-duplicates", shape="zip")
    assert result["events"] == count and result["out_of_order"] == 0
    tap.stop()
    assert os.path.getsize(run.directory / "archive.checkpoint") < 64 * 1024 + 32 * files


def test_follow_takes_what_appears_grows_and_is_renamed_in(run, kafka, tree, pb):
    fleet = events.Fleet(pb, sensors=3)
    tap = archive(run, kafka, tree, follow="true", quiet_ms=5000, after=f"move:{run.directory / 'done'}").start()
    (tree / "100").mkdir()
    (tree / "100" / "a.log").write_bytes(fleet.bundle(100, 5))
    aside = run.directory / "b.log"
    aside.write_bytes(fleet.bundle(101, 5))
    (tree / "101").mkdir()
    aside.rename(tree / "101" / "b.log")
    bundle = fleet.bundle(102, 200)
    (tree / "102").mkdir()
    with open(tree / "102" / "c.log", "wb", buffering=0) as f:
        for at in range(0, len(bundle), 4000):  # never quiet, though often not at the end of a record
            f.write(bundle[at:at + 4000])
            tap.metrics()
    metrics = all_delivered(tap, 3)
    assert metrics("cbtap_decode_dead_letters_total") == 0
    assert fleet.check(kafka.records(run.topic)) == 0
    until(lambda: not files_in(tree), 10, "the files to be moved")
    assert [path.name for path in files_in(run.directory / "done")] == ["a.log", "b.log", "c.log"]


def test_a_broken_file_is_a_dead_letter_with_its_place(run, kafka, tree, pb):
    fleet = events.Fleet(pb, sensors=1)
    (tree / "100").mkdir()
    whole = fleet.bundle(100, 1000)
    broken = whole + b"\5\0\0\0wrong" + fleet.bundle(100, 2)
    (tree / "100" / "a.log").write_bytes(broken)
    (tree / "100" / "b.log.gz").write_bytes(gzip.compress(fleet.bundle(100, 3))[:-4])
    (tree / "100" / "c.log").write_bytes(fleet.bundle(100, 4))
    for number, name in enumerate(["a.log", "b.log.gz", "c.log"]):
        os.utime(tree / "100" / name, (1_600_000_000 + number,) * 2)
    tap = archive(run, kafka, tree).start()
    all_delivered(tap, 3)
    assert fleet.check(kafka.records(run.topic)) == 0
    dead = {record["headers"]["reason"]: record["headers"] for record in kafka.records(run.dead_topic)}
    assert dead["malformed"]["file"] == str(tree / "100" / "a.log")
    assert dead["malformed"]["position"] == f"entry 0 record 1000 offset {len(whole)}"
    assert dead["gzip_malformed"]["file"] == str(tree / "100" / "b.log.gz")
    assert dead["gzip_malformed"]["sensor_id"] == "100"


@pytest.mark.without("address", "thread")
def test_one_daemon_at_a_time_and_a_checkpoint_that_is_none(run, kafka, tree):
    first = archive(run, kafka, tree).start()
    foreign = run.directory / "foreign"
    foreign.write_text("[source.old]\ntype = archive\n", encoding="utf-8")
    for checkpoint, words in ((run.directory / "archive.checkpoint", "in use by another cbtap"),
                              (foreign, "no checkpoint of cbtap's")):
        second = archive(run, kafka, tree, checkpoint=checkpoint)
        second.sections["cbtap"]["state_dir"] = ""
        try:
            second.start(ready=False)
        except AssertionError:
            pass  # it has ended before it was seen to listen
        assert second.process.wait(20) == 2
        second.wait_log(rf"^error .*checkpoint = .*{words}")
        second.discard()
    assert first.alive() and first.get("/readyz")[0] == 200


@pytest.mark.without("address", "thread")
def test_folders_that_cannot_be_watched_are_looked_through(run, kafka, tree, pb):
    """In a user namespace of its own, in which Linux gives it two watches: for the tree itself and one of five folders."""
    fleet = events.Fleet(pb, sensors=5)
    for sensor in fleet.sensors:
        (tree / str(sensor)).mkdir()
    tap = archive(run, kafka, tree, follow="true", rescan_ms=200)
    tap.launcher = ["unshare", "-U", "-r", "sh", "-c", "echo 2 > /proc/sys/user/max_inotify_watches && exec \"$@\"", "sh"]
    tap.start()
    tap.wait_log(r"^warning not all of the archive can be watched.*No space left on device")
    for number in range(2):
        for sensor in fleet.sensors:
            (tree / str(sensor) / f"{number}.log").write_bytes(fleet.bundle(sensor, 3))
        all_delivered(tap, len(fleet.sensors) * (number + 1))
    assert fleet.check(kafka.records(run.topic)) == 0
    assert tap.log().count("can be watched") == 1


def until_full(action):
    for number in range(1_000_000):
        try:
            action(number)
        except OSError as e:
            assert e.errno == errno.ENOSPC
            return


def fill(directory):
    """No inode is left, and no byte."""
    until_full(lambda number: (directory / f"ballast-{number}").touch())
    with open(directory / "ballast-0", "wb", buffering=0) as f:
        until_full(lambda _: f.write(bytes(4096)))


@pytest.mark.skipif(os.geteuid() != 0, reason="SKIPPED: ONLY ROOT MAY MOUNT A FILE SYSTEM THAT IS FULL")
@pytest.mark.without("address", "thread")
def test_a_full_disk_loses_nothing_and_repeats_nothing(run, kafka, pb):
    """Tree, checkpoint and the folder that files are moved to, on a file system without a free inode or byte: files are
    delivered, stay where they are, and are moved when there is room."""
    fleet = events.Fleet(pb, sensors=2)
    full, files = run.directory / "full", 200  # more records than the checkpoint's first page has room for
    full.mkdir()
    tap = archive(run, kafka, full / "tree", follow="true", after=f"move:{full / 'done'}", rescan_ms=500,
                  checkpoint=full / "archive.checkpoint")
    tap.launcher = ["unshare", "-m", "sh", "-c",
                    f"mount -t tmpfs -o size=2m,nr_inodes={files + 50} tmpfs {full} && mkdir {full}/tree && exec \"$@\"", "sh"]
    tap.start()
    inside = Path(f"/proc/{tap.process.pid}/root{full}")
    kafka.pause()
    for number in range(files):
        sensor = fleet.sensors[number % 2]
        folder = inside / "tree" / str(sensor)
        folder.mkdir(exist_ok=True)
        (folder / f"{number:03}.log").write_bytes(fleet.bundle(sensor, 2))
    tap.wait(lambda m: m("cbtap_inflight_frames") == files, what=f"{files} files to be in flight")
    fill(inside)
    kafka.resume()
    tap.wait_log(r"^error the checkpoint cannot be written.*No space left on device")
    tap.wait_log(r"^error delivered, but cannot be removed or moved.*No space left on device")
    all_delivered(tap, files)
    assert len(files_in(inside / "tree")) == files
    for path in inside.glob("ballast-*"):
        path.unlink()
    tap.wait_log(r"^warning the checkpoint is written again")
    until(lambda: len(files_in(inside / "done")) == files and not files_in(inside / "tree"), 20, "the files to be moved")
    assert tap.metrics()("cbtap_archive_files_total") == files
    assert fleet.check(kafka.records(run.topic)) == 0
