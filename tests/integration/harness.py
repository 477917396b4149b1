# SPDX-License-Identifier: MIT
"""Runs the cbtap daemon for a test: writes its configuration, follows its log, reads its metrics."""
import http.client
import os
import re
import signal
import urllib.error
import urllib.request

from process import Guarded, tail, until

# What a sanitizer says, and nothing else in the log.
SANITIZER_REPORT = re.compile(r"ERROR: (Address|Leak|Thread)Sanitizer|WARNING: ThreadSanitizer|runtime error:")

# Records that a worker gathers before it hands them over, twice for the round that is being handed over; and messages.
HANDED_OVER_EVENTS_MAX = 2 * 1024
# What one worker may take beyond inflight_bytes to finish a frame that it has begun: a few blocks of at most 256 KiB.
OVERDRAWN_BYTES_MAX = 1024 * 1024
SAMPLE = re.compile(r'(\w+)(?:\{(.*)\})? (\S+)')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Metrics:
    """One scrape of /metrics."""

    def __init__(self, text):
        self.text = text
        self.samples = []
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, labels, value = SAMPLE.fullmatch(line).groups()
                self.samples.append((name, dict(LABEL.findall(labels or "")), float(value)))

    def __str__(self):
        """What is not zero, without the histograms' buckets: enough to see where something stuck."""
        return "\n".join(line for line in self.text.splitlines()
                         if line and line[0] != "#" and "_bucket{" not in line and not re.search(r" 0(\.0+)?$", line))

    def __call__(self, name, **labels):
        """The sum of the family's samples that have these labels. A family that is not there is an error."""
        found = [v for n, have, v in self.samples if n == name and labels.items() <= have.items()]
        if not found:
            raise AssertionError(f"no metric {name} {labels} in:\n{self}")
        return sum(found)

    def open_frames(self):
        """Messages that no account knows: received, but neither settled, abandoned, dropped nor in flight."""
        return (self("cbtap_source_received_frames_total") - self("cbtap_source_settled_frames_total")
                - self("cbtap_source_abandoned_frames_total") - self("cbtap_dropped_frames_total")
                - self("cbtap_inflight_frames"))

    def open_events(self):
        return (self("cbtap_decode_events_total") - self("cbtap_sink_delivered_records_total")
                - self("cbtap_decode_filtered_events_total") - self("cbtap_decode_dead_letters_total")
                - self("cbtap_inflight_events"))

    def at_rest(self):
        return self("cbtap_inflight_frames") == 0 and self("cbtap_inflight_events") == 0 and \
            self.open_frames() == 0 and self.open_events() == 0

    def assert_balance_at_rest(self):
        assert self("cbtap_inflight_frames") == 0 and self("cbtap_inflight_events") == 0, str(self)
        assert self.open_frames() == 0, f"{self.open_frames()} messages unaccounted for:\n{self}"
        assert self.open_events() == 0, f"{self.open_events()} events unaccounted for:\n{self}"

    def assert_balance_under_load(self, frames_max, workers):
        """What came in is never less than what is accounted for, nor more by much: what is being handed over."""
        assert 0 <= self.open_frames() <= frames_max, f"{self.open_frames()} messages open:\n{self}"
        assert 0 <= self.open_events() <= workers * HANDED_OVER_EVENTS_MAX, f"{self.open_events()} events open:\n{self}"


def changed(sections, changes):
    """A configuration with changes {"section": {"key": value}}; a value None takes the key out."""
    for section, keys in changes.items():
        have = sections.get(section, {}) | keys
        sections[section] = {key: value for key, value in have.items() if value is not None}
    return sections


class Cbtap:
    """One cbtap daemon: the same configuration over several lives."""

    def __init__(self, binary, directory, sections, slow=1, env=None, launcher=()):
        self.binary = binary
        self.dir = str(directory)
        self.config = os.path.join(self.dir, "cbtap.conf")
        self.log_path = os.path.join(self.dir, "cbtap.log")
        self.sections = sections
        self.sections.setdefault("cbtap", {}).setdefault("state_dir", os.path.join(self.dir, "state"))
        self.slow = slow
        self.env = dict(os.environ) | (env or {})
        self.launcher = list(launcher)  # a program that becomes cbtap, with its arguments
        self.process = None
        self.port = None
        self.lives = 0

    # ---- lives

    def launch(self):
        """Starts it, without a look at what becomes of it."""
        with open(self.config, "w", encoding="utf-8") as f:
            for section, keys in self.sections.items():
                f.write(f"[{section}]\n")
                f.writelines(f"{key} = {value}\n" for key, value in keys.items())
        self.process = Guarded([*self.launcher, self.binary, "run", "-c", self.config], self.log_path, self.env)
        self.lives += 1

    def start(self, ready=True):
        said = len(self.log())
        self.launch()

        def listening():
            assert self.process.alive(), f"cbtap ended with {self.process.exit_status}:\n{tail(self.log_path)}"
            return re.search(r"listening for http .*port=(\d+)", self.log()[said:])

        self.port = int(until(listening, 20 * self.slow, lambda: f"cbtap to listen:\n{tail(self.log_path)}")[1])
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self, timeout_s=30):
        until(lambda: self.get("/readyz")[0] == 200, timeout_s * self.slow,
              lambda: f"cbtap to be ready: {self.get('/readyz')}\n{tail(self.log_path)}")

    def stop(self, timeout_s=40):
        """SIGTERM; it must end by itself, with 0."""
        self.process.signal(signal.SIGTERM)
        status = self.process.wait(timeout_s * self.slow)
        self.process.release(keep_dir=True)
        self.process = None
        assert status == 0, f"cbtap ended with {status} after SIGTERM:\n{tail(self.log_path)}"
        self.assert_no_report()

    def kill(self):
        """SIGKILL, as a crash would end it."""
        self.process.signal(signal.SIGKILL)
        assert self.process.wait(30) == -signal.SIGKILL, tail(self.log_path)
        self.process.release(keep_dir=True)
        self.process = None
        self.assert_no_report()

    def wait_crash(self, number, timeout_s=30):
        """Until it ends by that signal, which nobody sent."""
        assert self.process.wait(timeout_s * self.slow) == -number, tail(self.log_path)
        self.process.release(keep_dir=True)
        self.process = None

    def alive(self):
        return self.process is not None and self.process.alive()

    def assert_no_report(self):
        report = SANITIZER_REPORT.search(self.log())
        assert not report, self.log()[max(0, report.start() - 200):report.start() + 6000]

    def discard(self):
        if self.process:
            self.process.release(keep_dir=True)
            self.process = None

    # ---- what it says

    def log(self):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def wait_log(self, pattern, timeout_s=20, after=0):
        return until(lambda: re.search(pattern, self.log()[after:], re.IGNORECASE | re.MULTILINE), timeout_s * self.slow,
                     lambda: f"a line with {pattern!r} in the log:\n{tail(self.log_path, 60)}")

    def get(self, path):
        """Status and text of its HTTP listener's answer; (0, reason) where there is none, or no whole one."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10 * self.slow) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()
        except (OSError, http.client.HTTPException) as e:
            return 0, str(e)

    def metrics(self):
        status, text = self.get("/metrics")
        assert status == 200, f"/metrics: {status} {text}\n{tail(self.log_path)}"
        return Metrics(text)

    def wait(self, condition, timeout_s=60, what="the metrics"):
        """Polls the metrics until condition(metrics); returns the scrape that fulfilled it."""
        def check():
            assert self.alive(), f"cbtap ended:\n{tail(self.log_path)}"
            metrics = self.metrics()
            return metrics if condition(metrics) else None

        return until(check, timeout_s * self.slow,
                     lambda: f"{what}:\n{self.metrics()}\n{tail(self.log_path)}")

    def wait_rest(self, frames, timeout_s=60):
        """Waits until so many messages were received and all is settled; asserts the balance; returns the next scrape."""
        self.wait(lambda m: m("cbtap_source_received_frames_total") >= frames and m.at_rest(), timeout_s,
                  f"{frames} messages to be received, delivered and settled").assert_balance_at_rest()
        # What tells of rest is read last: other counters of that scrape may be from before.
        return self.metrics()

    def memory_bytes(self, what="VmRSS"):
        """VmRSS, or VmHWM for its highest so far."""
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as f:
            return int(re.search(rf"{what}:\s+(\d+) kB", f.read())[1]) * 1024
