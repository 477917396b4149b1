# SPDX-License-Identifier: MIT
"""What may happen to Redis, which keeps nothing: what it published meanwhile is lost, and that must be said and counted."""
import signal
import time

from cases import case

GONE, AGAIN = r"^warning the subscription is gone", r"^warning the subscription is back"
KEEPS_NOTHING = "PUBSUB keeps nothing"


def load(trial, bed, events):
    return trial.load(bed.events(events), rate=trial.rate // 4, shape="event", options=["--no-check"],
                      where=["--redis", f"redis://{trial.redis.host}:{trial.redis.port}"])


def note_gap(trial):
    """How long the subscription was gone, as the daemon counts it itself."""
    gap = trial.daemon.metrics()("cbtap_source_gap_seconds_total")
    assert gap > 0
    trial.recovered(gap)


@case("Redis", "killed and restarted", shape="event", says=(GONE, AGAIN))
def killed(trial, bed):
    redis = bed.redis()
    tap = trial.tap(bed.kafka(), redis=redis)
    load(trial, bed, 10_000).finish()
    trial.wait_rest()
    redis.kill()
    tap.wait_log("subscription is gone")
    redis.start()
    back = time.monotonic()
    tap.wait_log("subscription is back")
    trial.recovered(time.monotonic() - back)
    assert tap.metrics()("cbtap_source_gap_seconds_total") > 0
    load(trial, bed, 10_000)


@case("Redis", "client kill under load", short=True, shape="event", may_miss=KEEPS_NOTHING, says=(GONE, AGAIN))
def client_kill(trial, bed):
    redis = bed.redis()
    tap = trial.tap(bed.kafka(), redis=redis)
    load(trial, bed, 20_000)
    trial.wait_flow(500)
    with redis.client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    tap.wait_log("subscription is back")
    note_gap(trial)


@case("Redis", "output buffer limit hit", shape="event", may_miss=KEEPS_NOTHING, says=(GONE, AGAIN))
def output_buffer(trial, bed):
    redis = bed.redis(client_output_buffer_limit="pubsub 256kb 256kb 1")
    tap = trial.tap(bed.kafka(), redis=redis)
    load(trial, bed, 60_000)
    trial.wait_flow(500)
    tap.process.signal(signal.SIGSTOP)
    with redis.client() as client:
        trial.wait_for(lambda: client.execute_command("PUBSUB", "NUMPAT") == 0, "Redis to cut the slow subscriber off")
    tap.process.signal(signal.SIGCONT)
    tap.wait_log("subscription is back")
    note_gap(trial)
