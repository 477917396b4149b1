# SPDX-License-Identifier: MIT
"""What may happen to Kafka, and to the producer."""
import os
import time

from bus import Publisher, queue_depth
from cases import REFUSED_S, case
from events import Fleet, bundle_of
from process import until

AWAY, BACK = r"^warning Kafka does not answer", r"^info Kafka answers again"


@case("Kafka", "killed and restarted", short=True, says=(AWAY, BACK))
def killed(trial, bed):
    kafka = bed.kafka()
    trial.tap(kafka, bed.rabbitmq())
    trial.load(bed.events(bed.quick(100_000, 300_000)))
    trial.wait_flow(trial.rate // 4)
    kafka.kill()
    trial.wait_stall()
    kafka.start()
    trial.recovers(time.monotonic())


@case("Kafka", "stopped and restarted, three times", says=(AWAY, BACK))
def stopped(trial, bed):
    kafka = bed.kafka()
    trial.tap(kafka, bed.rabbitmq())
    trial.load(bed.events(600_000))
    for _ in range(3):
        trial.wait_flow(trial.rate // 4)
        kafka.stop()
        trial.wait_stall()
        kafka.start()
        trial.recovers(time.monotonic())


@case("Kafka", "away for 10 minutes at 20,000 events/s", once=True, without=("address", "thread"), says=(AWAY, BACK))
def away(trial, bed):
    kafka = bed.kafka()
    tap = trial.tap(kafka, bed.rabbitmq())
    trial.load(14_000_000)
    trial.wait_flow(trial.rate)
    kafka.stop()
    gone = time.monotonic()
    until(lambda: time.monotonic() - gone >= bed.away_s, bed.away_s + 60, "the outage to last", 1)
    kafka.start()
    back = time.monotonic()
    trial.recovers(back)
    before = trial.delivered()
    tap.wait(lambda m: queue_depth(trial.rabbitmq, trial.name) == 0, 600, "the backlog to be worked off")
    took = time.monotonic() - back
    trial.notes.append(f"{trial.delivered() - before:,.0f} events caught up with in {took:.0f} s, "
                       f"{(trial.delivered() - before) / took:,.0f} a second")


@case("Kafka", "leaders change: one broker of three killed, then another", without=("thread",))
def leader_change(trial, bed):
    cluster = bed.kafka_cluster()
    cluster.nodes[0].topics("--create", "--topic", trial.name, "--partitions", 6, "--replication-factor", 3)
    trial.tap(cluster, bed.rabbitmq())
    trial.load(bed.events(600_000))
    for node in cluster.nodes[:2]:
        trial.wait_flow(trial.rate // 4)
        node.kill()
        until(lambda gone=node.node_id: all(part["leader"] not in (gone, -1) for part in cluster.partitions(trial.name)), 60,
              "new leaders", 0.05)
        trial.recovers(time.monotonic())
        node.start()
        until(lambda: all(len(part["isrs"]) == 3 for part in cluster.partitions(trial.name)), 120, "all replicas to be in sync",
              0.1)


@case("Kafka", "topic deleted, and made again by whom it belongs to", says=(r"^warning Kafka does not have the topic",))
def topic_deleted(trial, bed):
    """What the topic held is gone with it: the events of before are judged before."""
    kafka = bed.kafka_without_topics()
    make = ("--create", "--topic", trial.name, "--partitions", 4)
    kafka.topics(*make)
    trial.tap(kafka, bed.rabbitmq())
    trial.load(bed.events(20_000)).finish()
    trial.wait_rest()
    trial.judge_so_far()
    kafka.topics("--delete", "--topic", trial.name)
    trial.load(bed.events(60_000))
    trial.daemon.wait_log("does not have the topic", timeout_s=60)
    kafka.topics(*make)
    trial.recovers(time.monotonic())
    trial.daemon.wait_log("the topic is there", after=trial.daemon.log().index("does not have the topic"))


def large_record(pb):
    """Of an endpoint that the load does not have."""
    event = pb.CbEventMsg()
    event.ParseFromString(Fleet(pb, sensors=1).record(100))
    event.strings[0].utf8string = b"x" * 1_200_000
    return event.SerializeToString()


@case("Kafka", "records too large, alone and amid innocents", dead_letters=20)
def too_large(trial, bed):
    rabbitmq = bed.rabbitmq()
    trial.tap(bed.kafka(), rabbitmq)
    trial.load(bed.events(100_000))
    large = bundle_of([large_record(bed.pb())])
    with Publisher(rabbitmq, persistent=True, confirm=True) as publisher:
        for _ in range(20):
            trial.wait_flow(trial.rate // 20)
            publisher.raw(large, {"sensorId": 1})


@case("Kafka", "fewer replicas in sync than min.insync.replicas", without=("address", "thread"),
      says=(r"^warning Kafka answers, but has confirmed no event", r"^info Kafka confirms events again"))
def not_enough_replicas(trial, bed):
    cluster = bed.kafka_cluster()
    cluster.nodes[0].topics("--create", "--topic", trial.name, "--partitions", 6, "--replication-factor", 3,
                            "--config", "min.insync.replicas=3")
    tap = trial.tap(cluster, bed.rabbitmq())
    trial.load(bed.events(600_000))
    trial.wait_flow(trial.rate // 4)
    cluster.nodes[2].kill()
    tap.wait_log("has confirmed no event", timeout_s=60)
    cluster.nodes[2].start()
    until(lambda: all(len(part["isrs"]) == 3 for part in cluster.partitions(trial.name)), 120, "all replicas to be in sync", 0.02)
    trial.recovers(time.monotonic())


@case("Kafka", "authorization taken away and given back", recovery_max_s=REFUSED_S)
def not_authorized(trial, bed):
    kafka = bed.guarded_kafka()
    acls = ("--topic", trial.name, "--operation", "Write", "--deny-principal", "User:ANONYMOUS")
    trial.tap(kafka, bed.rabbitmq())
    trial.load(bed.events(400_000))
    trial.wait_flow(trial.rate // 4)
    kafka.tool("org.apache.kafka.tools.AclCommand", "--add", *acls)
    trial.wait_stall()
    kafka.tool("org.apache.kafka.tools.AclCommand", "--remove", "--force", *acls)
    trial.recovers(time.monotonic())


@case("Kafka", "fatal error of the producer, three times", short=True, without=("thread",),
      says=(r"^warning events were not delivered: they are sent again", r"^info events are delivered again"))
def fatal(trial, bed):
    trial.tap(bed.kafka(), bed.rabbitmq(), faults=True)
    trial.load(bed.events(100_000))
    fault = os.path.join(trial.directory, "fatal")
    for _ in range(3):
        trial.wait_flow(trial.rate // 4)
        with open(fault, "wb"):
            pass
        until(lambda: not os.path.exists(fault), 60, "the producer to fail")
        trial.recovers(time.monotonic())


@case("Kafka", "its name cannot be resolved while it restarts", says=(AWAY, BACK))
def no_dns(trial, bed):
    kafka = bed.kafka()
    dns = os.path.join(trial.directory, "dns")
    trial.tap(kafka, bed.rabbitmq(), faults=True,
              **{"sink.kafka": {"kafka.bootstrap.servers": kafka.bootstrap.replace("127.0.0.1", "localhost")}})
    trial.load(bed.events(400_000))
    trial.wait_flow(trial.rate // 4)
    with open(dns, "wb"):
        pass
    kafka.stop()
    kafka.start()
    trial.wait_stall(3)
    os.unlink(dns)
    trial.recovers(time.monotonic())
