# SPDX-License-Identifier: MIT
"""What may happen to RabbitMQ, and on the way to it."""
import contextlib
import os
import threading
import time

from bed import close_consumers, read_from, wait_answers
from cases import REFUSED_S, case
from load import EVENTS_EACH
from proxy import Proxy

LOST, MAYBE_GAP = r"^warning connection lost", r"^warning the broker was away: if it has restarted"


def backlog(trial, kafka, events):
    """So many events are in the broker for good, and the daemon is in the midst of them."""
    kafka.pause()
    trial.load(events, rate=10 * trial.rate).finish()
    kafka.resume()
    trial.wait_flow(more=False)  # nobody is to publish when the broker goes


@case("RabbitMQ", "killed and restarted, persistent messages", short=True, says=(LOST, MAYBE_GAP))
def killed(trial, bed):
    rabbitmq, kafka = bed.rabbitmq(), bed.kafka()
    trial.tap(kafka, rabbitmq)
    backlog(trial, kafka, bed.events(100_000))
    rabbitmq.kill()
    restart(trial, rabbitmq)
    trial.load(bed.events(20_000))


def restart(trial, rabbitmq):
    """Starts it and notes how soon after it listens events flow."""
    back = []
    watch = threading.Thread(target=lambda: (wait_answers(rabbitmq), back.append(time.monotonic())))
    watch.start()
    rabbitmq.start()
    watch.join()
    trial.recovers(back[0], more=False)  # there is a backlog; and RabbitMQ answers before its bindings are back


@case("RabbitMQ", "stopped and restarted, persistent messages", says=(LOST, MAYBE_GAP))
def stopped(trial, bed):
    rabbitmq, kafka = bed.rabbitmq(), bed.kafka()
    trial.tap(kafka, rabbitmq)
    backlog(trial, kafka, bed.events(200_000))
    rabbitmq.stop()
    restart(trial, rabbitmq)


@case("RabbitMQ", "queue deleted under the consumer", says=(r"^warning connection lost.*cancelled the consumer",))
def queue_deleted(trial, bed):
    """What the queue held is lost by whoever deletes it: here it holds nothing, all is in flight."""
    rabbitmq, kafka = bed.rabbitmq(), bed.kafka()
    tap = trial.tap(kafka, rabbitmq)
    kafka.pause()
    events = bed.events(10_000)
    trial.load(events).finish()
    tap.wait(lambda m: m("cbtap_inflight_frames") == events // EVENTS_EACH, what="all to be in flight")
    connection = rabbitmq.connect()
    connection.channel().queue_delete(trial.name)
    connection.close()
    tap.wait_log("cancelled the consumer")
    tap.wait_log("created the queue", after=tap.log().index("cancelled the consumer"))
    kafka.resume()
    trial.recovers(time.monotonic())
    trial.load(bed.events(40_000))


@contextlib.contextmanager
def consumer_timeout(rabbitmq, seconds):
    """RabbitMQ's delivery acknowledgement time-out, looked at every second."""
    def setting(timeout_ms, tick_ms):
        rabbitmq.ctl("eval", f"application:set_env(rabbit, consumer_timeout, {timeout_ms}), "
                             f"application:set_env(rabbit, channel_tick_interval, {tick_ms}).")
    setting(seconds * 1000, 1000)
    try:
        yield
    finally:
        setting(1_800_000, 60_000)


@case("RabbitMQ", "channel closed: acknowledgement time-out", says=(r"^warning connection lost.*Timeout value",))
def acknowledgement_timeout(trial, bed):
    rabbitmq, kafka = bed.rabbitmq(), bed.kafka()
    trial.until_its_end(consumer_timeout(rabbitmq, 3))
    tap = trial.tap(kafka, rabbitmq)
    trial.load(bed.events(200_000))
    trial.wait_flow(trial.rate // 4)
    kafka.pause()
    tap.wait_log("connection lost.*Timeout value", timeout_s=60)
    kafka.resume()
    trial.recovers(time.monotonic())


@case("RabbitMQ", "no budget for longer than heartbeat and acknowledgement time-out", says=(LOST,))
def no_budget(trial, bed):
    """The socket is not read, so nobody hears the broker close the channel, until there is budget again."""
    rabbitmq, kafka = bed.rabbitmq(), bed.kafka()
    trial.until_its_end(consumer_timeout(rabbitmq, 6))
    tap = trial.tap(kafka, rabbitmq, cbtap={"inflight_bytes": 8 << 20}, **{"source.bus": {"heartbeat_ms": 1000}})
    trial.load(bed.events(200_000))
    trial.wait_flow(trial.rate // 4)
    said = os.path.getsize(rabbitmq.log)
    kafka.pause()
    tap.wait(lambda m: m("cbtap_stage_blocked_seconds_total", stage="ingest") > 2, what="the budget to be used up")
    trial.wait_for(lambda: b"delivery acknowledgement on channel 1 timed out" in read_from(rabbitmq.log, said),
                   "RabbitMQ to close the channel")
    kafka.resume()
    trial.recovers(time.monotonic())


@case("RabbitMQ", "connection forced closed", short=True, says=(LOST,))
def forced_closed(trial, bed):
    rabbitmq = bed.rabbitmq()
    tap = trial.tap(bed.kafka(), rabbitmq)
    trial.load(bed.events(60_000))
    trial.wait_flow(trial.rate // 4)
    close_consumers(rabbitmq, trial.name)
    tap.wait_log("connection lost")
    trial.recovers(time.monotonic())


@case("RabbitMQ", "memory alarm, then none")
def memory_alarm(trial, bed):
    """RabbitMQ holds its publishers back; a consumer hears nothing, and must not mind."""
    rabbitmq = bed.rabbitmq()
    tap = trial.tap(bed.kafka(), rabbitmq, **{"source.bus": {"heartbeat_ms": 1000}})
    trial.load(bed.events(100_000))
    trial.wait_flow(trial.rate // 4)
    rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    trial.wait_stall(4)  # longer than two heartbeats
    rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "2GB")
    trial.recovers(time.monotonic())
    assert tap.metrics()("cbtap_source_connects_total") == 1, "the silence was taken for a loss"


HEARTBEAT_S = 2


@case("RabbitMQ", "TCP cut without a word (half-open)", short=True, recovery_max_s=2 * HEARTBEAT_S + 1, says=(LOST,))
def half_open(trial, bed):
    rabbitmq = bed.rabbitmq()
    proxy = Proxy(rabbitmq.port)
    trial.tap(bed.kafka(), rabbitmq, **{"source.bus": {
        "url": rabbitmq.url.replace(str(rabbitmq.port), str(proxy.port)), "heartbeat_ms": HEARTBEAT_S * 1000}})
    trial.load(bed.events(120_000))
    trial.wait_flow(trial.rate // 4)
    proxy.cut()
    trial.recovers(trial.wait_stall())


@case("RabbitMQ", "slow network")
def slow_network(trial, bed):
    rabbitmq = bed.rabbitmq()
    proxy = Proxy(rabbitmq.port, bytes_per_second=3_000_000)
    tap = trial.tap(bed.kafka(), rabbitmq, **{"source.bus": {
        "url": rabbitmq.url.replace(str(rabbitmq.port), str(proxy.port)), "heartbeat_ms": 1000}})
    trial.load(bed.events(100_000), rate=10 * trial.rate)
    trial.wait_flow(trial.rate // 4)
    proxy.bytes_per_second = 100_000
    trial.wait_flow(trial.rate // 8)
    proxy.bytes_per_second = 3_000_000
    trial.recovers(time.monotonic())
    assert tap.metrics()("cbtap_source_connects_total") == 1


@contextlib.contextmanager
def user(rabbitmq, name, password):
    """A user of the broker who may do everything, for as long as the case lasts; yields the URL."""
    rabbitmq.ctl("add_user", name, password)
    try:
        rabbitmq.ctl("set_permissions", name, ".*", ".*", ".*")
        yield rabbitmq.url.replace("guest:guest@", f"{name}:{password}@")
    finally:
        rabbitmq.ctl("delete_user", name)


@case("RabbitMQ", "wrong password at the start", recovery_max_s=REFUSED_S, says=(r"^warning refused",))
def wrong_password(trial, bed):
    rabbitmq = bed.rabbitmq()
    url = trial.until_its_end(user(rabbitmq, trial.name, "right"))
    rabbitmq.ctl("change_password", trial.name, "other")
    tap = trial.tap(bed.kafka(), rabbitmq, started=False, **{"source.bus": {"url": url}})
    tap.start(ready=False)
    declare_queue(rabbitmq, trial.name)
    tap.wait_log("^warning refused")
    trial.load(bed.events(20_000))
    rabbitmq.ctl("change_password", trial.name, "right")
    trial.recovers(time.monotonic())


def declare_queue(rabbitmq, name, exchange="api.rawsensordata"):
    """As the daemon declares it, before it does."""
    connection = rabbitmq.connect()
    channel = connection.channel()
    channel.queue_declare(name, durable=True, arguments={"x-expires": 86_400_000})
    channel.queue_bind(name, exchange)
    connection.close()


@case("RabbitMQ", "credentials changed", recovery_max_s=REFUSED_S, says=(r"^warning refused",))
def credentials_changed(trial, bed):
    rabbitmq = bed.rabbitmq()
    url = trial.until_its_end(user(rabbitmq, trial.name, "old"))
    tap = trial.tap(bed.kafka(), rabbitmq, **{"source.bus": {"url": url}})
    trial.load(bed.events(200_000))
    trial.wait_flow(trial.rate // 4)
    rabbitmq.ctl("change_password", trial.name, "new")
    close_consumers(rabbitmq, trial.name)
    tap.wait_log("^warning refused")
    tap.stop()
    tap.sections["source.bus"]["url"] = url.replace(":old@", ":new@")
    started = time.monotonic()
    tap.start()
    trial.recovers(started)


@case("RabbitMQ", "permission taken away and given back", recovery_max_s=REFUSED_S, says=(r"^warning refused",))
def permission_taken(trial, bed):
    rabbitmq = bed.rabbitmq()
    url = trial.until_its_end(user(rabbitmq, trial.name, "right"))
    tap = trial.tap(bed.kafka(), rabbitmq, **{"source.bus": {"url": url}})
    trial.load(bed.events(200_000))
    trial.wait_flow(trial.rate // 4)
    rabbitmq.ctl("clear_permissions", trial.name)
    close_consumers(rabbitmq, trial.name)
    tap.wait_log("^warning refused")
    rabbitmq.ctl("set_permissions", trial.name, ".*", ".*", ".*")
    trial.recovers(time.monotonic())


@case("RabbitMQ", "missing queue (passive), then there", recovery_max_s=REFUSED_S, says=(r"^warning refused",))
def missing_queue(trial, bed):
    rabbitmq = bed.rabbitmq()
    tap = trial.tap(bed.kafka(), rabbitmq, started=False, **{"source.bus": {"queue.declare": "passive"}})
    tap.start(ready=False)
    tap.wait_log("^warning refused")
    declare_queue(rabbitmq, trial.name)
    declared = time.monotonic()
    trial.load(bed.events(20_000))
    trial.recovers(declared)


@case("RabbitMQ", "missing exchange, then there", recovery_max_s=REFUSED_S, says=(r"^info bound at last",))
def missing_exchange(trial, bed):
    rabbitmq = bed.rabbitmq()
    connection = rabbitmq.connect()
    connection.channel().exchange_delete("api.rawsensordata")
    connection.close()
    tap = trial.tap(bed.kafka(), rabbitmq, started=False)
    tap.start(ready=False)
    tap.wait_log("api.rawsensordata")
    rabbitmq.declare_exchanges()
    declared = time.monotonic()
    tap.wait_log("bound at last")
    trial.load(bed.events(20_000))
    trial.recovers(declared)
