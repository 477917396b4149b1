# SPDX-License-Identifier: MIT
"""What may happen to cbtap itself."""
import os
import random
import resource
import signal
import time

from bed import close_consumers, read_from
from bus import Publisher
from cases import REFUSED_S, case
from process import until


@case("cbtap", "kill -9 at random moments", short=True)
def killed(trial, bed):
    rabbitmq, kafka = bed.rabbitmq(), bed.kafka()
    kills = bed.quick(2, 20)
    tap = trial.tap(kafka, rabbitmq, **{"sink.kafka": {"kafka.linger.ms": 50}})
    rate = trial.rate * bed.quick(1, 4)
    load = trial.load(bed.events(bed.quick(60_000, 5_000_000)), rate)
    for _ in range(kills):
        trial.wait_flow(trial.rate // 10)
        time.sleep(random.uniform(0, bed.quick(0.3, 2)))  # the moment is what is random
        trial.kill()
        started = time.monotonic()
        tap.start()
        trial.recovers(started)
    assert bed.short or not load.done(), "the load ended before the last kill"


@case("cbtap", "SIGTERM under load", short=True)
def stopped(trial, bed):
    tap = trial.tap(bed.kafka(), bed.rabbitmq(), **{"sink.kafka": {"kafka.linger.ms": 50}})
    trial.load(bed.events(60_000))
    for _ in range(bed.quick(1, 3)):
        trial.wait_flow(trial.rate // 4)
        tap.stop()
        started = time.monotonic()
        tap.start()
        trial.recovers(started)


@case("cbtap", "SIGSTOP for longer than the heartbeat", says=(r"^warning connection lost",))
def held_still(trial, bed):
    rabbitmq = bed.rabbitmq()
    tap = trial.tap(bed.kafka(), rabbitmq, **{"source.bus": {"heartbeat_ms": 1000}})
    trial.load(bed.events(200_000))
    trial.wait_flow(trial.rate // 4)
    said = os.path.getsize(rabbitmq.log)
    tap.process.signal(signal.SIGSTOP)
    until(lambda: b"missed heartbeats" in read_from(rabbitmq.log, said), 60, "RabbitMQ to miss its heartbeats")
    tap.process.signal(signal.SIGCONT)
    trial.recovers(time.monotonic())


# Below these numbers everything is taken, and poll may watch so many.
FIRST_DESCRIPTORS = 12


@case("cbtap", "out of file descriptors while it reconnects", says=(r"Too many open files",))
def out_of_descriptors(trial, bed):
    rabbitmq = bed.rabbitmq()
    tap = trial.tap(bed.kafka(), rabbitmq)
    trial.load(bed.events(200_000))
    trial.wait_flow(trial.rate // 4)
    pid = tap.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (FIRST_DESCRIPTORS, limits[1]))
    close_consumers(rabbitmq, trial.name)
    tap.wait_log("Too many open files")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    trial.recovers(time.monotonic())


FULL_BYTES = 1 << 20


@case("cbtap", "disk full where dead letters go", dead_letters=1, recovery_max_s=REFUSED_S, without=("address", "thread"),
      says=(r"^warning connection lost.*cannot be kept in dead_letter_dir",))
def disk_full(trial, bed):
    os.mkdir(trial.dead_dir)
    launcher = ["unshare", *([] if os.geteuid() == 0 else ["-r"]), "-m", "sh", "-c",
              f"mount -t tmpfs -o size={FULL_BYTES} tmpfs {trial.dead_dir} && exec \"$@\"", "sh"]
    rabbitmq = bed.rabbitmq()
    tap = trial.tap(bed.kafka(), rabbitmq, launcher=launcher, cbtap={"frame_max_bytes": 100_000})
    inside = f"/proc/{tap.process.pid}/root{trial.dead_dir}"
    ballast = os.path.join(inside, "ballast")
    fill(ballast)
    trial.load(bed.events(200_000))
    trial.wait_flow(trial.rate // 4)
    with Publisher(rabbitmq, persistent=True, confirm=True) as publisher:
        publisher.raw(bytes(300_000), {"sensorId": 1})
    tap.wait_log("cannot be kept in dead_letter_dir")
    trial.wait_stall()
    os.unlink(ballast)
    trial.recovers(time.monotonic())
    assert sum(name.endswith(".bin") for name in os.listdir(inside)) == 1


def fill(path):
    with open(path, "wb", buffering=0) as f:
        try:
            while True:
                f.write(bytes(4096))
        except OSError:
            pass
