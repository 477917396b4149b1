#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Starts real servers for tests and demonstrations, on free ports of the loopback interface.

usage: services.py up --dir DIR [--stay] [rabbitmq] [redis] [kafka]

Runs in the foreground, writes DIR/env (assignments for a shell) when all are ready, and stops them when it gets SIGTERM
or SIGINT or, without --stay, when the process that started it ends. Named none, all three run.
"""
import argparse
import ctypes
import os
import shlex
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kafka_service import Kafka  # noqa: E402
from process import Service, ServiceError, until  # noqa: E402
from rabbitmq_service import RabbitMQ  # noqa: E402
from redis_service import Redis  # noqa: E402

KINDS = {"rabbitmq": RabbitMQ, "redis": Redis, "kafka": Kafka}
PR_SET_PDEATHSIG = 1


def start_all(services):
    """Starts them at once; on a failure the first error is raised and nothing is left running."""
    errors = []

    def start(service):
        try:
            service.start()
        except Exception as e:  # pylint: disable=broad-except
            errors.append(e)

    threads = [threading.Thread(target=start, args=(service,)) for service in services]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        close_all(services)
        raise errors[0]


def close_all(services):
    for service in services:
        service.close()


class Ended(Exception):
    """SIGTERM, SIGINT or the end of the parent."""


def up(directory, names, stay):
    def ended(number, _frame):
        raise Ended(number)

    parent = os.getppid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, ended)
    if not stay:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            return 1
    os.makedirs(directory, exist_ok=True)
    env = os.path.join(directory, "env")
    services = []
    try:
        services += [KINDS[name](directory) for name in names]
        start_all(services)
        if "rabbitmq" in names:
            services[names.index("rabbitmq")].declare_exchanges()
        variables = {"SERVICES_PID": str(os.getpid())}
        for service in services:
            variables |= service.variables()
        with open(env + ".new", "w", encoding="utf-8") as f:
            f.writelines(f"{key}={shlex.quote(value)}\n" for key, value in variables.items())
        os.replace(env + ".new", env)
        while True:
            time.sleep(1)  # unlike pause(), it ends though the signal came just before it
    except Ended:
        return 0
    except ServiceError as e:
        print(f"services.py: {e}", file=sys.stderr)
        return 1
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        close_all(services)
        if os.path.exists(env):
            os.remove(env)


def main():
    parser = argparse.ArgumentParser(description="Starts real servers for tests and demonstrations.")
    parser.add_argument("command", choices=["up"])
    parser.add_argument("--dir", required=True, help="folder for the file env and the logs")
    parser.add_argument("--stay", action="store_true", help="do not end with the parent process")
    parser.add_argument("names", nargs="*", metavar="rabbitmq|redis|kafka")
    args = parser.parse_intermixed_args()
    names = list(dict.fromkeys(args.names)) or list(KINDS)
    for name in names:
        if name not in KINDS:
            parser.error(f"unknown service {name}: there are {', '.join(KINDS)}")
    return up(args.dir, names, args.stay)


if __name__ == "__main__":
    sys.exit(main())
