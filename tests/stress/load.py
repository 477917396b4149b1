# SPDX-License-Identifier: MIT
"""The load generator and its verification, as the stress tests use them."""
import json
import os
import subprocess

EVENTS_EACH = 20
ENDPOINTS = 100
# So many events at least: every endpoint then has as many as any other, and a second load goes on where one ended.
ROUND = EVENTS_EACH * ENDPOINTS


class Load:
    """cbtap-loadgen publish, in the background."""

    def __init__(self, binary, events, first, rate, where, shape="bundle", options=()):
        assert events % ROUND == 0 and first % ROUND == 0
        each = ["--events-per-message", str(EVENTS_EACH)] if shape == "bundle" else []
        self.process = subprocess.Popen(
            [binary, "publish", *where, "--shape", shape, *each, "--endpoints", str(ENDPOINTS), "--events", str(events),
             "--start", str(first // ENDPOINTS), "--rate", str(rate), "--quiet", *options],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def finish(self, timeout_s=900):
        said, _ = self.process.communicate(timeout=timeout_s)
        assert self.process.returncode == 0, f"the load generator failed: {said}"

    def done(self):
        return self.process.poll() is not None

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def verify(binary, bootstrap, topic, first, events, shape="bundle"):
    """What cbtap-loadgen verify, which reads Kafka on its own, finds of the events from `first` on: a dict."""
    each = ["--events-per-message", str(EVENTS_EACH)] if shape == "bundle" else []
    done = subprocess.run(
        [binary, "verify", "--kafka", bootstrap, "--topic", topic, "--shape", shape, *each, "--endpoints", str(ENDPOINTS),
         "--start", str(first // ENDPOINTS), "--events", str(events), "--idle-timeout-ms", "10000", "--quiet", "--json"],
        capture_output=True, text=True, timeout=900, check=False)
    assert done.stdout, f"verify failed: {done.stderr}"
    return json.loads(done.stdout)


def binary_of(build):
    return os.path.join(build, "bin", "cbtap-loadgen")
