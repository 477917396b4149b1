#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Runs one server for a test and sees to its end, whatever becomes of the test.

usage: guard.py LOGFILE REMOVE_DIR PROGRAM [ARGUMENT]...

Standard input is a pipe that the test holds open. The server and all its descendants are killed when that pipe ends,
which it does also when the test is killed by SIGKILL, and when the server itself ends. A byte `k` read from the pipe
beforehand keeps REMOVE_DIR; without it the directory is removed too. Standard output tells the server's process id, and
its exit status when it has ended.
"""
import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE)
libc = ctypes.CDLL(None, use_errno=True)


def descendants(root):
    """The process ids of everything below root, found by their parents."""
    children = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as f:
                fields = f.read().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(int(name))
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def kill_descendants():
    """Kills until none is left: what forks meanwhile is found in the next round, for orphans become our children."""
    while True:
        pids = descendants(os.getpid())
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            if not pids:
                return
        time.sleep(0.005)


def start(argv, log):
    pid = os.fork()
    if pid:
        return pid
    try:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setpgid(0, 0)
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        signal.set_wakeup_fd(-1)
        for ignored in IGNORED:
            signal.signal(ignored, signal.SIG_DFL)
        os.execvp(argv[0], argv)
    except OSError as e:
        os.write(log, f"{argv[0]}: {e}\n".encode())
    os._exit(127)


def main(log_path, remove_dir, *argv):
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    wake, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for ignored in IGNORED:
        signal.signal(ignored, signal.SIG_IGN)
    pid = start(argv, log)
    os.write(1, f"pid {pid}\n".encode())
    keep = False
    status = None
    while status is None:
        ready = select.select([0, wake], [], [])[0]
        if 0 in ready:
            data = os.read(0, 100)
            keep = keep or b"k" in data
            if not data:
                break
        if wake in ready:
            os.read(wake, 100)
            try:
                while (reaped := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                    status = reaped[1] if reaped[0] == pid else status
            except ChildProcessError:
                pass
    kill_descendants()
    if status is not None:
        with contextlib.suppress(BrokenPipeError):
            os.write(1, f"exit {os.waitstatus_to_exitcode(status)}\n".encode())
        # The test may want to start it again on its data: the data stays until the pipe ends.
        while not keep and (data := os.read(0, 100)):
            keep = b"k" in data
    if not keep and remove_dir:
        shutil.rmtree(remove_dir, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
