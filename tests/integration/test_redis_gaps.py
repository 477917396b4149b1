# SPDX-License-Identifier: MIT
"""Why a subscription ended, as far as a real Redis lets it be known."""
import signal
import time

import pytest

from events import Fleet

CHANNEL = "ingress.event.filemod"
GAPS = "cbtap_source_gaps_total"
REFUSED_MS = 2500  # the shortest pause of who was refused; without that it is tried again within half a second


def gap_counted(tap, reason, begun):
    metrics = tap.wait(lambda m: m(GAPS, reason=reason) == 1 and m("cbtap_source_connected") == 1,
                       what=f"a gap for the reason {reason}")
    assert metrics(GAPS) == 1 and metrics("cbtap_source_gap_seconds_total") > 0
    tap.wait_log(r"^warning the subscription is gone")
    said = tap.wait_log(rf"^warning the subscription is back.* gap_ms=(\d+) reason={reason}")
    assert int(said[1]) <= 1000 * (time.monotonic() - begun), "the gap is longer than since it began"
    assert int(said[1]) < REFUSED_MS * tap.slow, "Redis was there, but the subscription was not"


def test_a_killed_client_and_a_restarted_redis(run, redis, kafka):
    tap = run.tap(kafka, redis=redis).start()
    with redis.client() as client:
        begun = time.monotonic()
        assert client.execute_command("CLIENT", "KILL", "TYPE", "pubsub") == 1
    gap_counted(tap, "closed", begun)
    redis.stop()
    redis.start()
    tap.wait(lambda m: m(GAPS, reason="restarted") == 1, what="a gap for a restart")
    assert tap.metrics()(GAPS) == 2


@pytest.fixture
def small_buffers(redis):
    name = "client-output-buffer-limit"
    with redis.client() as client:
        before = client.config_get(name)[name]
        client.config_set(name, "pubsub 2097152 1048576 1")
        yield redis
        client.config_set(name, before)


def test_a_subscriber_too_slow_is_cut_off_by_its_output_buffer(run, small_buffers, kafka, pb):
    fleet = Fleet(pb, sensors=1)
    tap = run.tap(kafka, redis=small_buffers).start()
    with small_buffers.client() as client:
        assert client.publish(CHANNEL, fleet.record(100, with_env=True)) == 1
        tap.wait_rest(frames=1)
        tap.process.signal(signal.SIGSTOP)
        try:
            for _ in range(200):
                if client.publish(CHANNEL, b"\xff" * 1_000_000) == 0:
                    break
            else:
                raise AssertionError("Redis does not cut the subscriber off")
        finally:
            begun = time.monotonic()  # which is when cbtap sees it
            tap.process.signal(signal.SIGCONT)
    gap_counted(tap, "output_buffer", begun)
