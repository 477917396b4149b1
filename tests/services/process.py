# SPDX-License-Identifier: MIT
"""A server that a test starts, stops, kills, pauses and starts again on the same ports and data.

Every server runs below a guard (guard.py), which ends it and removes its folder when the test ends, in whatever way.
"""
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = "/usr/bin/python3"


class ServiceError(Exception):
    """A server did not do what it should; the message holds the end of its log."""


def until(condition, timeout_s, what, poll_s=0.02):
    """Polls until condition() is true and returns what it returned; fails after timeout_s, naming what was awaited."""
    deadline = time.monotonic() + timeout_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise ServiceError(f"waited {timeout_s} s in vain for {what() if callable(what) else what}")
        time.sleep(poll_s)


_given_ports = set()


def free_port():
    """A port on loopback that nobody uses; below the range of outgoing connections, so that it stays free over a restart."""
    while True:
        port = random.randrange(10240, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given_ports:
            _given_ports.add(port)
            return port


def answers(port):
    """Whether something accepts connections on the port."""
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


def tail(path, lines=30):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return "".join(f.readlines()[-lines:])
    except OSError as e:
        return str(e)


class Guarded:
    """One run of a program below a guard."""

    def __init__(self, argv, log, env=None, remove_dir="", cwd=None):
        self.log = log
        self.guard = subprocess.Popen(
            [PYTHON, "-I", "-S", os.path.join(HERE, "guard.py"), log, remove_dir, *argv],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=env, cwd=cwd, start_new_session=True)
        self.exit_status = None
        self._said = b""
        self.pid = self._wait_line(b"pid ", 30)

    def _wait_line(self, prefix, timeout_s):
        """The number that the guard says after prefix, or None if it does not within the time."""
        deadline = time.monotonic() + timeout_s
        while True:
            for line in self._said.split(b"\n")[:-1]:
                if line.startswith(prefix):
                    return int(line[len(prefix):])
            left = deadline - time.monotonic()
            if not select.select([self.guard.stdout], [], [], max(0, left))[0]:
                return None
            data = os.read(self.guard.stdout.fileno(), 100)
            if not data:
                return None if prefix == b"exit " else 0
            self._said += data

    def wait(self, timeout_s):
        """The exit status (negative: the signal), or None while it runs still."""
        if self.exit_status is None:
            self.exit_status = self._wait_line(b"exit ", timeout_s)
        return self.exit_status

    def alive(self):
        return self.wait(0) is None and self.guard.poll() is None

    def signal(self, number):
        if self.alive():
            os.kill(self.pid, number)

    def release(self, keep_dir):
        """Ends what is left of it; the guard removes its folder unless keep_dir."""
        if self.guard.stdin.closed:
            return
        try:
            if keep_dir:
                self.guard.stdin.write(b"k")
        except BrokenPipeError:
            pass
        self.guard.stdin.close()
        self.guard.wait(30)
        self.guard.stdout.close()


class Service:
    """What RabbitMQ, Redis and Kafka have in common. A subclass gives argv(), env(), check() and prepare()."""

    name = "service"
    start_timeout_s = 60
    stop_timeout_s = 30

    def __init__(self, log_dir=None):
        self.dir = tempfile.mkdtemp(prefix=f"cbtap-{self.name}-")
        self.log = os.path.join(log_dir or self.dir, f"{self.name}.log")
        self.process = None
        self.prepared = False

    def prepare(self):
        """Chooses ports and writes the configuration, before the first start."""

    def argv(self):
        raise NotImplementedError

    def env(self):
        return dict(os.environ)

    def check(self):
        """Whether it is ready to serve."""
        raise NotImplementedError

    def start(self):
        if not self.prepared:
            self.prepare()
            self.prepared = True
        old = self.process
        self.process = Guarded(self.argv(), self.log, self.env(), self.dir, self.dir)
        if old:
            old.release(keep_dir=True)
        self.wait_ready()
        return self

    def wait_ready(self):
        def ready():
            if not self.process.alive():
                raise ServiceError(f"{self.name} ended with {self.process.exit_status}:\n{tail(self.log)}")
            return self.check()
        until(ready, self.start_timeout_s, lambda: f"{self.name} to be ready:\n{tail(self.log)}", 0.05)

    def stop(self):
        """Stops it in its own orderly way; its data stays for the next start."""
        self.resume()
        self.process.signal(signal.SIGTERM)
        if self.process.wait(self.stop_timeout_s) is None:
            raise ServiceError(f"{self.name} did not stop within {self.stop_timeout_s} s:\n{tail(self.log)}")

    def kill(self):
        """SIGKILL, as a crash would end it; its data stays for the next start."""
        self.process.signal(signal.SIGKILL)
        self.process.wait(30)

    def again(self):
        """Serving, whatever became of it: never started, paused, stopped or killed."""
        if self.alive():
            self.resume()
            self.wait_ready()
            return self
        return self.start()

    def restart(self, orderly=True):
        if orderly:
            self.stop()
        else:
            self.kill()
        return self.start()

    def pause(self):
        """It stops answering, its connections stay."""
        self.process.signal(signal.SIGSTOP)

    def resume(self):
        self.process.signal(signal.SIGCONT)

    def alive(self):
        return self.process is not None and self.process.alive()

    def close(self):
        """Ends it at once and removes its folder."""
        if self.process:
            self.process.release(keep_dir=False)
            self.process = None
        else:  # a start that failed
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()
