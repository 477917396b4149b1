# SPDX-License-Identifier: MIT
"""What one test works with: topics, a queue, and cbtap daemons of its own."""
import itertools
import os
import re

from harness import Cbtap, changed


class Scale:
    """How much a build with a sanitizer can take."""

    def __init__(self, sanitizer):
        self.sanitizer = sanitizer
        self.slow = {"": 1, "address": 3, "thread": 4}[sanitizer]

    def __call__(self, count):
        return count if not self.sanitizer else count // 4


# What is known of the libraries is suppressed where it is known: tests/lib/tsan_c11_threads.c.
SANITIZER_ENV = {
    "ASAN_OPTIONS": "detect_leaks=1:exitcode=99:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "exitcode=99:second_deadlock_stack=1",
}


class Run:
    """What a test works with: names of its own, the daemon's configuration, publishers, the records in Kafka."""

    numbers = itertools.count(1)

    def __init__(self, name, config, directory, log_dir, scale):
        self.name = f"{next(self.numbers)}-{re.sub(r'[^a-z0-9]+', '-', name.lower())[:60]}".strip("-")
        self.queue, self.topic, self.dead_topic = f"q-{self.name}", f"t-{self.name}", f"dlq-{self.name}"
        self.binary = config.getoption("--cbtap")
        self.directory = directory
        self.dead_dir = directory / "dead-letters"
        self.log_dir = log_dir
        self.scale = scale
        self.taps = []
        self.queues_of = []

    def tap(self, kafka, rabbitmq=None, redis=None, **changes):
        """A daemon, not yet started. Changes are {"section": {"key": value}}; a value None takes the key out."""
        sections = {
            "cbtap": {"server_name": "cbserver", "server_url": "https://cbtests/", "http_listen": "127.0.0.1:0",
                      "workers": 2, "inflight_bytes": 64 << 20},
            "filter": {},
            "sink.kafka": {"type": "kafka", "topic": self.topic, "dead_letter_topic": self.dead_topic,
                           "dead_letter_dir": self.dead_dir, "kafka.bootstrap.servers": kafka.bootstrap},
        }
        if rabbitmq:
            sections["source.bus"] = {"type": "amqp", "url": rabbitmq.url, "queue": self.queue, "raw": "true", "events": ""}
            self.queues_of.append(rabbitmq)
        if redis:
            sections["source.pubsub"] = {"type": "redis", "host": redis.host, "port": redis.port}
        directory = self.directory / f"tap-{len(self.taps)}"
        directory.mkdir()
        tap = Cbtap(self.binary, directory, changed(sections, changes), self.scale.slow, SANITIZER_ENV)
        self.taps.append(tap)
        return tap

    def finish(self, failed):
        for number, tap in enumerate(self.taps):
            try:
                if tap.alive() and not failed:
                    tap.stop()
                tap.assert_no_report()
            finally:
                tap.discard()
                with open(os.path.join(self.log_dir, f"cbtap-{self.name}-{number}.log"), "w", encoding="utf-8") as f:
                    f.write(tap.log())
        for server in self.queues_of:
            if server.alive():
                connection = server.connect()
                connection.channel().queue_delete(self.queue)
                connection.close()
