#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Runs a program under what a systemd unit says of system calls, capabilities, files and core dumps, without systemd.

usage: confine.py UNIT errno|kill PROGRAM [ARGUMENT]...

SystemCallFilter=, MemoryDenyWriteExecute=, RestrictAddressFamilies=, RestrictNamespaces=, RestrictRealtime=,
LockPersonality=, NoNewPrivileges=, CapabilityBoundingSet= (empty only), LimitNOFILE=, LimitCORE= and UMask= are read from
the unit and made by seccomp, prctl and setrlimit as systemd 252 makes them. `kill` ends the program at a system call
that the filter does not hold, in place of the unit's error: what lives under it does not even try one.
"""
import ctypes
import errno
import os
import resource
import subprocess
import sys

import seccomp

PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
PROT_WRITE, PROT_EXEC, SHM_EXEC = 2, 4, 0o100000
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}
FAMILIES_END = 64
NAMESPACES = 0x7E020080  # all of CLONE_NEW*
SCHED_OTHER, SCHED_BATCH, SCHED_IDLE = 0, 3, 5
PERSONALITY_QUERY = 0xFFFFFFFF
libc = ctypes.CDLL(None, use_errno=True)


def read_unit(path):
    """What the unit says: a list of values for each key, as keys may stand there several times."""
    said = {}
    with open(path, encoding="utf-8") as f:
        for line in f:
            key, equal, value = line.strip().partition("=")
            if equal and not key.startswith("#"):
                said.setdefault(key, []).append(value)
    return said


def call_groups():
    """The groups of system calls that systemd knows, each with what it names: calls, and other groups."""
    listed = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager"], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True, check=True)
    groups, group = {}, None
    for line in listed.stdout.splitlines():
        if line.startswith("@"):
            group = groups.setdefault(line.strip(), [])
        elif line.startswith("    ") and not line.lstrip().startswith("#"):
            group.append(line.strip())
    return groups


def calls_of(names, groups):
    found = set()
    for name in names:
        found |= calls_of(groups[name], groups) if name.startswith("@") else {name}
    return found


def allowed_calls(lines):
    groups = call_groups()
    assert lines and not lines[0].startswith("~"), "the unit's first SystemCallFilter= is no list of what is allowed"
    allowed = calls_of(["@default"], groups)
    for line in lines:
        if line.startswith("~"):
            allowed -= calls_of(line[1:].split(), groups)
        else:
            allowed |= calls_of(line.split(), groups)
    return allowed | calls_of(["@default"], groups)


def refuse(filtered, call, number, *conditions):
    filtered.add_rule(seccomp.ERRNO(number), call, *conditions)


def restrict_arguments(said):
    """The restrictions that judge a call by its arguments; anything else passes here."""
    filtered = seccomp.SyscallFilter(seccomp.ALLOW)

    def has(key):
        return said.get(key, ["no"])[-1] == "yes"

    if has("MemoryDenyWriteExecute"):
        both = PROT_WRITE | PROT_EXEC
        refuse(filtered, "mmap", errno.EPERM, seccomp.Arg(2, seccomp.MASKED_EQ, both, both))
        for call in ("mprotect", "pkey_mprotect"):
            refuse(filtered, call, errno.EPERM, seccomp.Arg(2, seccomp.MASKED_EQ, PROT_EXEC, PROT_EXEC))
        refuse(filtered, "shmat", errno.EPERM, seccomp.Arg(2, seccomp.MASKED_EQ, SHM_EXEC, SHM_EXEC))
    if "RestrictAddressFamilies" in said:
        allowed = {FAMILIES[name] for name in said["RestrictAddressFamilies"][-1].split()}
        for family in set(range(FAMILIES_END)) - allowed:
            refuse(filtered, "socket", errno.EAFNOSUPPORT, seccomp.Arg(0, seccomp.EQ, family))
        refuse(filtered, "socket", errno.EAFNOSUPPORT, seccomp.Arg(0, seccomp.GE, FAMILIES_END))
    if has("RestrictNamespaces"):
        # Its flags lie in memory, where no filter looks.
        refuse(filtered, "clone3", errno.ENOSYS)
        for call in ("clone", "unshare"):
            for bit in (1 << n for n in range(32) if NAMESPACES >> n & 1):
                refuse(filtered, call, errno.EPERM, seccomp.Arg(0, seccomp.MASKED_EQ, bit, bit))
        refuse(filtered, "setns", errno.EPERM)
    if has("RestrictRealtime"):
        for policy in set(range(16)) - {SCHED_OTHER, SCHED_BATCH, SCHED_IDLE}:
            refuse(filtered, "sched_setscheduler", errno.EPERM, seccomp.Arg(1, seccomp.EQ, policy))
    if has("LockPersonality"):
        refuse(filtered, "personality", errno.EPERM, seccomp.Arg(0, seccomp.NE, PERSONALITY_QUERY))
    filtered.load()


def restrict_calls(said, action):
    number = getattr(errno, said["SystemCallErrorNumber"][-1])
    filtered = seccomp.SyscallFilter(seccomp.KILL_PROCESS if action == "kill" else seccomp.ERRNO(number))
    for call in allowed_calls(said["SystemCallFilter"]):
        try:
            filtered.add_rule(seccomp.ALLOW, call)
        except (RuntimeError, ValueError):
            pass  # of another architecture, or newer than the library: stays forbidden
    filtered.load()


def drop_capabilities():
    capability = 0
    while libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    # Without the right to drop them there are none to drop.
    assert ctypes.get_errno() in (errno.EINVAL, errno.EPERM), os.strerror(ctypes.get_errno())


def main(unit, action, *argv):
    said = read_unit(unit)
    limit = int(said["LimitNOFILE"][-1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    core = int(said["LimitCORE"][-1])
    resource.setrlimit(resource.RLIMIT_CORE, (core, core))
    os.umask(int(said["UMask"][-1], 8))
    if said["CapabilityBoundingSet"] == [""]:
        drop_capabilities()
    if said["NoNewPrivileges"] == ["yes"]:
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    restrict_arguments(said)
    restrict_calls(said, action)
    os.execv(argv[0], argv)


if __name__ == "__main__":
    main(*sys.argv[1:])
