# SPDX-License-Identifier: MIT
"""The servers of the tests end with the tests, however these end."""
import os
import signal
import subprocess
import sys

import pytest

from process import PYTHON, ServiceError, answers, until
from redis_service import Redis

HERE = os.path.dirname(os.path.abspath(__file__))

STARTS_AND_WAITS = """
import sys, signal
sys.path.insert(0, sys.argv[1])
from redis_service import Redis
server = Redis().start()
print(server.port, server.process.pid, server.dir, flush=True)
signal.pause()
"""


def gone(pid):
    return not os.path.exists(f"/proc/{pid}")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_test_leaves_no_server_and_no_folder(number):
    with subprocess.Popen([PYTHON, "-c", STARTS_AND_WAITS, HERE], stdout=subprocess.PIPE, text=True) as test:
        port, pid, folder = test.stdout.readline().split()
        assert answers(int(port)) and os.path.isdir(folder)
        test.send_signal(number)
        until(lambda: gone(pid) and not os.path.exists(folder), 10, "the server and its folder to go")
    assert not answers(int(port))


def test_paused_server_is_ended_too():
    server = Redis().start()
    pid, folder = server.process.pid, server.dir
    server.pause()
    server.close()
    assert gone(pid) and not os.path.exists(folder)


@pytest.mark.parametrize("orderly", [True, False])
def test_restart_keeps_port_and_folder(orderly):
    with Redis() as server:
        first, port = server.process.pid, server.port
        server.restart(orderly)
        assert gone(first) and server.process.pid != first
        assert server.port == port and answers(port) and os.path.isdir(server.dir)


def test_descendants_are_ended_with_the_server(tmp_path):
    pid_file = tmp_path / "pid"

    class Shell(Redis):
        def argv(self):
            return ["sh", "-c", f"setsid sleep 1000 & echo $! > {pid_file}; exec redis-server {self.dir}/redis.conf"]

    server = Shell().start()
    pid = pid_file.read_text().strip()
    assert not gone(pid)
    server.kill()
    until(lambda: gone(pid), 10, "the descendant to go")
    server.close()


def test_server_that_does_not_start_says_why():
    server = Redis(no_such_setting="1")
    with pytest.raises(ServiceError, match="no-such-setting"):
        server.start()
    server.close()


def test_cli_writes_env_when_ready_and_stops_on_sigterm(tmp_path):
    with subprocess.Popen([PYTHON, os.path.join(HERE, "services.py"), "up", "--dir", tmp_path, "redis"]) as up:
        env = tmp_path / "env"
        until(env.exists, 20, "the file env")
        values = dict(line.split("=", 1) for line in env.read_text().splitlines())
        assert values["SERVICES_PID"] == str(up.pid) and answers(int(values["REDIS_PORT"]))
        up.terminate()
        assert up.wait(20) == 0
    assert not env.exists() and not answers(int(values["REDIS_PORT"]))


def test_cli_ends_with_its_parent(tmp_path):
    script = f"{PYTHON} {HERE}/services.py up --dir {tmp_path} redis & while ! [ -e {tmp_path}/env ]; do sleep 0.02; done; cat {tmp_path}/env"
    done = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    values = dict(line.split("=", 1) for line in done.stdout.splitlines())
    until(lambda: gone(values["SERVICES_PID"]), 10, "services.py to end")
    assert not answers(int(values["REDIS_PORT"]))


if __name__ == "__main__":
    sys.exit(pytest.main([__file__]))
