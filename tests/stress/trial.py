# SPDX-License-Identifier: MIT
"""One run of one case: a daemon under load, a fault, and the judgement of what became of the events."""
import contextlib
import os
import re
import statistics
import tempfile
import time

from bus import queue_depth
from harness import Cbtap, changed
from load import EVENTS_EACH, ROUND, Load, binary_of, verify
from process import until
from run import SANITIZER_ENV
from sampler import Sampler

INFLIGHT_BYTES = 64 << 20
PREFETCH = 1000
# What may still be counted between a life's last sample and its end by SIGKILL.
UNSEEN_S = 0.5
FLOW_TIMEOUT_S = 60
REST_TIMEOUT_S = 300
TROUBLE = re.compile(r"^(?:warning|error) ((?:[^=\n](?!\w+=))*)", re.MULTILINE)


class Broken(AssertionError):
    """A promise did not hold."""


class Trial:
    """What a case works with. Times are time.monotonic()."""

    def __init__(self, bed, case, number):
        self.bed, self.case = bed, case
        self.name = re.sub(r"[^a-z0-9]+", "-", f"{case.name} {number}".lower())
        self.directory = tempfile.mkdtemp(prefix="cbtap-chaos-", dir=bed.directory)
        self.dead_dir = os.path.join(self.directory, "dead-letters")
        self.rate = int(20_000 / bed.scale.slow)
        self.events = self.judged = self.killed = self.faults = 0
        self.notes = []
        self.recoveries = []
        self.loads = []
        self.daemon = self.sampler = None
        self.rabbitmq = self.kafka = self.redis = None
        self.contexts = contextlib.ExitStack()

    # ---- parts

    def tap(self, kafka, rabbitmq=None, redis=None, started=True, launcher=(), faults=False, **changes):
        """The daemon; changes are {"section": {"key": value}}, a value None takes the key out."""
        self.kafka, self.rabbitmq, self.redis = kafka, rabbitmq, redis
        sections = {
            "cbtap": {"http_listen": "127.0.0.1:0", "workers": 2, "inflight_bytes": INFLIGHT_BYTES},
            "sink.kafka": {"type": "kafka", "topic": self.name, "dead_letter_topic": f"dlq-{self.name}",
                           "dead_letter_dir": self.dead_dir, "kafka.bootstrap.servers": kafka.bootstrap},
        }
        if rabbitmq:
            sections["source.bus"] = {"type": "amqp", "url": rabbitmq.url, "queue": self.name, "raw": "true", "events": "",
                                      "prefetch": PREFETCH}
        if redis:
            sections["source.pubsub"] = {"type": "redis", "host": redis.host, "port": redis.port}
        env = self.bed.fault_env(SANITIZER_ENV, self.directory) if faults else SANITIZER_ENV
        self.daemon = Cbtap(self.bed.cbtap, self.directory, changed(sections, changes), self.bed.scale.slow, env, launcher)
        self.sampler = Sampler(self.daemon)
        self.sampler.start()
        if started:
            self.daemon.start()
        return self.daemon

    def load(self, events, rate=None, options=(), shape="bundle", where=None):
        """Begins a load that goes on where the last one ends, for which it waits: two at once have no order between them.
        Persistent and confirmed: the broker has it for good."""
        if self.loads:
            self.loads[-1].finish()
        if where is None:
            where = ["--amqp", self.rabbitmq.url, "--persistent", "--confirm"]
        rate = rate or self.rate
        load = Load(binary_of(self.bed.build), events, self.events, rate, where, shape, options)
        load.more = lambda: self.load(ROUND, rate, options, shape, where)
        self.events += events
        self.loads.append(load)
        return load

    def under_load(self, condition):
        """The condition, asked under load: where that has come to its end, a little more follows."""
        def asked():
            if self.loads and self.loads[-1].done():
                self.loads[-1].more()
            return condition()
        return asked

    # ---- what happens

    def delivered(self):
        return self.sampler.samples[-1][2]["delivered"] if self.sampler.samples else 0

    def wait_flow(self, events=1, more=True):
        """Waits until the daemon has delivered so many more; more: under load, whatever of that has ended."""
        samples = self.sampler.samples
        life, before = self.daemon.lives, self.delivered()

        def flows():
            return samples and samples[-1][1] == life and samples[-1][2]["delivered"] >= before + events

        until(self.under_load(flows) if more else flows, FLOW_TIMEOUT_S * self.bed.scale.slow,
              lambda: f"{events} more to be delivered:\n{self.daemon.log()[-3000:]}")

    def wait_stall(self, seconds=0.5):
        """Waits until nothing was delivered for so long; the time of the last delivery before."""
        def last_delivery():
            samples = self.sampler.samples
            since = next((at for at, _, sums in samples if sums["delivered"] == self.delivered()), None)
            return since if since and samples[-1][0] - since >= seconds else None
        return until(last_delivery, FLOW_TIMEOUT_S * self.bed.scale.slow, "deliveries to stop")

    def wait_for(self, condition, what):
        return until(condition, FLOW_TIMEOUT_S * self.bed.scale.slow, what)

    def until_its_end(self, context):
        """Enters a context manager that ends with the trial; what that yields."""
        return self.contexts.enter_context(context)

    def recovers(self, since, more=True):
        """Waits until events flow again; `since` is when the service was back. More: as of wait_flow."""
        flows = self.sampler.flows_after(since)
        self.recovered(until(self.under_load(flows) if more else flows, FLOW_TIMEOUT_S * self.bed.scale.slow, "deliveries to go on"))

    def recovered(self, seconds):
        self.faults += 1
        self.recoveries.append(seconds)

    def kill(self):
        """SIGKILL for the daemon, at this moment."""
        self.sampler.sample()
        self.killed += 1
        self.daemon.kill()

    # ---- judgement

    def wait_rest(self):
        """Waits until the queue is empty and everything that was received is settled."""
        seen = []

        def rest():
            if self.rabbitmq and queue_depth(self.rabbitmq, self.name) > 0:
                seen.clear()
                return False
            metrics = self.daemon.metrics()
            if not metrics.at_rest() or metrics("cbtap_source_connected") != 1:
                seen.clear()
                return False
            seen.append(metrics("cbtap_source_received_frames_total"))
            return len(seen) >= 5 and seen[-5] == seen[-1]

        until(rest, REST_TIMEOUT_S * self.bed.scale.slow, lambda: f"everything to be settled:\n{self.daemon.metrics()}"
              f"\n{self.daemon.log()[-3000:]}", 0.1)
        self.daemon.metrics().assert_balance_at_rest()

    def verify(self):
        return verify(binary_of(self.bed.build), self.kafka.bootstrap, self.name, self.judged, self.events - self.judged,
                      self.case.shape)

    def judge_so_far(self):
        """All that was sent is there; what is sent from now on is judged apart."""
        found = self.verify()
        self.check(found["missing"] == found["duplicates"] == found["out_of_order"] == 0, f"before the fault: {found}")
        self.judged = self.events

    def finish(self):
        """Waits for the end of the loads, then judges. Returns the row of the table."""
        for load in self.loads:
            load.finish()
        self.wait_rest()
        found = self.verify()
        self.sampler.finish()
        metrics = self.daemon.metrics()
        self.daemon.stop()
        repeatable = self.sampler.total("redelivered") * EVENTS_EACH + self.sampler.total("resent") \
            + self.killed * int(UNSEEN_S * self.rate)
        row = {"sent": self.events, "missing": found["missing"], "duplicates": found["duplicates"],
               "out_of_order": found["out_of_order"], "recoveries": self.recoveries, "repeatable": repeatable,
               "rss_mib": self.sampler.rss_bytes / 2**20, "notes": self.notes}
        self.judge(row, found, metrics)
        return row

    def judge(self, row, found, metrics):
        case, log = self.case, self.daemon.log()
        self.check(row["missing"] == 0 or case.may_miss, f"{row['missing']} events missing")
        self.check(row["out_of_order"] == 0, f"{row['out_of_order']} events out of order")
        self.check(found["split_endpoints"] == found["wrong_key"] == 0, f"keys or partitions are wrong: {found}")
        self.check(row["duplicates"] <= row["repeatable"],
                   f"{row['duplicates']} duplicates, of at most {row['repeatable']} that were unsettled")
        self.check(metrics("cbtap_decode_dead_letters_total") == case.dead_letters, "dead letters that nobody expected")
        # The short form shares its machine with whatever else is built and tested there.
        limit = case.recovery_max_s * self.bed.scale.slow * self.bed.quick(3, 1)
        seconds = statistics.median(row["recoveries"] or [0])
        self.check(seconds <= limit, f"it took {seconds:.2f} s to flow again, more than {limit} s: {row['recoveries']}")
        self.check(self.sampler.inflight_bytes <= INFLIGHT_BYTES * 1.02, f"{self.sampler.inflight_bytes} bytes in flight")
        for pattern in case.says:
            count = len(re.findall(pattern, log, re.MULTILINE))
            self.check(1 <= count <= max(1, self.faults), f"{count} lines with {pattern!r} for {self.faults} faults")
        trouble = TROUBLE.findall(log)
        allowed = 4 * (self.faults + 1)
        self.check(len(trouble) <= allowed, f"{len(trouble)} warnings and errors for {self.faults} faults, allowed {allowed}")
        self.daemon.assert_no_report()

    def check(self, holds, what):
        if not holds:
            raise Broken(what)

    def close(self):
        for load in self.loads:
            load.end()
        if self.sampler:
            self.sampler.enough.set()
        if self.daemon:
            self.daemon.discard()
            self.bed.keep_log(f"cbtap-{self.name}.log", self.daemon.log())
        if self.rabbitmq and self.rabbitmq.alive():
            connection = self.rabbitmq.connect()
            connection.channel().queue_delete(self.name)
            connection.close()
        self.contexts.close()
