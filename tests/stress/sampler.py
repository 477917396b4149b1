# SPDX-License-Identifier: MIT
"""Watches a daemon all the time: what it has delivered when, its memory, what each of its lives counted."""
import http.client
import re
import threading
import time

PERIOD_S = 0.02
WATCHED = {
    "delivered": "cbtap_sink_delivered_records_total", "resent": "cbtap_sink_resent_records_total",
    "redelivered": "cbtap_source_redelivered_frames_total", "inflight_bytes": "cbtap_inflight_bytes",
}
LINE = re.compile(rf"^({'|'.join(WATCHED.values())})(?:\{{.*\}})? (\S+)$", re.MULTILINE)


def scrape(port):
    """The sums of the watched metrics, or None while nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    sums = dict.fromkeys(WATCHED.values(), 0.0)
    for name, value in LINE.findall(text):
        sums[name] += float(value)
    return {short: sums[name] for short, name in WATCHED.items()}


class Sampler(threading.Thread):
    """Samples are (monotonic time, life, sums). Sums restart with each life."""

    def __init__(self, tap):
        super().__init__(daemon=True)
        self.tap = tap
        self.samples = []
        self.rss_bytes = self.inflight_bytes = 0
        self.lives = {}
        self.enough = threading.Event()

    def run(self):
        while not self.enough.wait(PERIOD_S):
            self.sample()

    def sample(self):
        life, port = self.tap.lives, self.tap.port
        sums = scrape(port) if port and self.tap.process else None
        if sums is None:
            return
        self.samples.append((time.monotonic(), life, sums))
        self.lives[life] = sums
        self.inflight_bytes = max(self.inflight_bytes, sums["inflight_bytes"])
        if len(self.samples) % 10 == 1:
            try:
                self.rss_bytes = max(self.rss_bytes, self.tap.memory_bytes())
            except (OSError, AttributeError, TypeError):
                pass  # between two lives

    def finish(self):
        self.enough.set()
        self.join()
        self.sample()

    def total(self, name):
        """Over all lives, as far as the last sample of each saw it."""
        return int(sum(sums[name] for sums in self.lives.values()))

    def flows_after(self, since):
        """A condition: how many seconds after the time `since` more was delivered than was then; None: not yet."""
        earlier = [(life, sums["delivered"]) for at, life, sums in self.samples if at <= since]
        before = earlier[-1] if earlier else (0, 0)
        seen = len(earlier)

        def flowed():
            nonlocal seen
            for at, life, sums in self.samples[seen:]:
                seen += 1
                if at > since and sums["delivered"] > 0 and (life, sums["delivered"]) > before:
                    return at - since
            return None

        return flowed
