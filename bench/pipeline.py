#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The whole-pipeline benchmark: RabbitMQ -> cbtap -> Kafka, all real, beside a bare rd_kafka_produce_batch loop.

For each shape of message and each round: the queue is filled while the daemon is away; the daemon starts, empties it, and
its processor time is read from /proc; `cbtap-loadgen verify` finds nothing missing, repeated or out of order; then
cbtap-bare-produce sends the very records that came out once more, by the cheapest way there is. So both are measured
within seconds of each other, on the same records. bench/README.md says how to read the table that it prints (Markdown, on
standard output).
"""
import argparse
import glob
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "tests", name) for name in ("services", "integration")]
from harness import Cbtap  # noqa: E402
from kafka_service import VERSION as KAFKA_VERSION, Kafka  # noqa: E402
from process import ServiceError, until  # noqa: E402
from rabbitmq_service import RabbitMQ  # noqa: E402

QUEUE = "cbtap-bench"
SHAPES = {"bundle": "bundles of 716", "zip": "zips of 1 to 66", "event": "single messages"}


def say(text):
    print(text, file=sys.stderr, flush=True)


def fields(line):
    """{'events': 1000000.0, ...} of a line of key=value."""
    return {key: float(value) for key, value in re.findall(r"(\w+)=([\d.]+)", line)}


class Failed(Exception):
    """A step of the benchmark did not do what it must."""


def run(*argv):
    done = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, argv))}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


# ---- what the kernel knows of a process

def process_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        values = f.read().rsplit(")", 1)[1].split()
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def thread_seconds(pid):
    """Processor time by the threads' names, numbers cut off: in nanoseconds where the kernel keeps them, else in ticks."""
    seconds = {}
    for task in glob.glob(f"/proc/{pid}/task/*"):
        try:
            with open(f"{task}/comm", encoding="utf-8") as f:
                name = re.sub(r"[-_.]?\d+$", "", f.read().strip())
            with open(f"{task}/schedstat", encoding="utf-8") as f:
                spent = int(f.read().split()[0]) / 1e9
        except (FileNotFoundError, ProcessLookupError):
            continue
        seconds[name] = seconds.get(name, 0) + spent
    return seconds


# ---- the daemon and its queue

def sections(options, shape, rabbitmq, kafka, topic, directory):
    config = {
        "cbtap": {"server_name": "bench", "http_listen": "127.0.0.1:0"},
        "source.bus": {"type": "amqp", "url": rabbitmq.url, "queue": QUEUE,
                       "raw": "false" if shape == "event" else "true",
                       "events": "ingress.event.#" if shape == "event" else ""},
        "sink.kafka": {"type": "kafka", "topic": topic, "dead_letter_dir": os.path.join(directory, "dead-letters"),
                       "kafka.bootstrap.servers": kafka.bootstrap},
    }
    for setting in options.set:
        name, value = setting.split("=", 1)
        section = re.match(r"(cbtap|decode|filter|source\.bus|sink\.kafka)\.(.+)", name)
        if not section:
            raise Failed(f"--set wants SECTION.KEY=VALUE with a section of the benchmark's configuration, not {setting}")
        config[section[1]][section[2]] = value
    return config


def queue_depth(rabbitmq):
    connection = rabbitmq.connect()
    try:
        return connection.channel().queue_declare(QUEUE, passive=True).method.message_count
    finally:
        connection.close()


def delete_queue(rabbitmq):
    connection = rabbitmq.connect()
    connection.channel().queue_delete(QUEUE)
    connection.close()


def fleet(options, shape):
    return ["--shape", shape, "--events", options.events, "--endpoints", options.endpoints, "--seed", options.seed]


def fill_queue(options, rabbitmq, shape):
    """Returns the number of messages, all of them in the queue."""
    published = fields(run(options.loadgen, "publish", "--amqp", rabbitmq.url, "--quiet", *fleet(options, shape)))
    until(lambda: queue_depth(rabbitmq) == published["messages"], 600, "the queue to hold all messages", 0.1)
    return published


def measure_daemon(options, cbtap):
    """Runs it until all is delivered and settled; returns its costs."""
    started = time.monotonic()
    cbtap.start()
    connected = time.monotonic()

    def finished():
        time.sleep(min(1.0, (time.monotonic() - connected) / 20))  # asking costs too: about 0.3 ms each time
        metrics = cbtap.metrics()
        return metrics if metrics("cbtap_sink_delivered_records_total") >= options.events and metrics.at_rest() else None

    metrics = until(finished, options.timeout_s, lambda: f"all events to be delivered:\n{cbtap.metrics()}\n{cbtap.log()}")
    seconds = time.monotonic() - connected
    pid = cbtap.process.pid
    result = {
        "cpu_us": process_seconds(pid) * 1e6 / options.events,
        "threads_us": {name: s * 1e6 / options.events for name, s in thread_seconds(pid).items()},
        "events_per_s": options.events / seconds, "seconds": seconds, "start_seconds": connected - started,
        "peak_mib": cbtap.memory_bytes("VmHWM") / 2**20,
    }
    metrics.assert_balance_at_rest()
    cbtap.stop()
    return result


def measure(options, shape, number, rabbitmq, kafka, directory):
    topic = f"bench-{shape}-{number}"
    config = sections(options, shape, rabbitmq, kafka, topic, directory)
    cbtap = Cbtap(options.cbtap, directory, config)
    try:
        cbtap.start()  # declares and binds the queue
        cbtap.stop()
        published = fill_queue(options, rabbitmq, shape)
        result = measure_daemon(options, cbtap)
    finally:
        cbtap.discard()
        delete_queue(rabbitmq)  # else it would fill up with what is published for the next shape
    verified = fields(run(options.loadgen, "verify", "--kafka", kafka.bootstrap, "--topic", topic, "--no-duplicates",
                          "--expect", options.events, "--quiet", *fleet(options, shape)))
    properties = [f"{key[6:]}={value}" for key, value in config["sink.kafka"].items()
                  if key.startswith("kafka.") and key != "kafka.bootstrap.servers"]
    bare = fields(run(options.bare, "--kafka", kafka.bootstrap, "--from", topic, "--to", f"{topic}-bare", "--delete",
                      *properties))
    result |= {"shape": shape, "messages": int(published["messages"]), "bytes": int(published["bytes"]),
               "record_bytes": verified["bytes"] / verified["records"], "bare_us": bare["cpu_us_per_record"],
               "bare_caller_us": bare["caller_us_per_record"], "bare_events_per_s": bare["records"] / bare["seconds"]}
    say(f"{shape} {number + 1}/{options.rounds}: cbtap {result['cpu_us']:.2f} us an event, {result['events_per_s']:.0f} "
        f"events/s, peak {result['peak_mib']:.0f} MiB; bare {result['bare_us']:.2f} us a record; verified: nothing "
        f"missing, repeated or out of order")
    return result


# ---- the report

def spread(values, digits=2):
    """median (lowest to highest)"""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def library_versions():
    names = {"librdkafka": "rdkafka", "rabbitmq-c": "librabbitmq", "protobuf-c": "libprotobuf-c", "libdeflate": "libdeflate",
             "concurrencykit": "ck"}
    return ", ".join(f"{name} {run('pkg-config', '--modversion', package).strip()}" for name, package in names.items())


def print_machine(options, rabbitmq):
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = re.search(r"model name\s*: (.*)", f.read())
    connection = rabbitmq.connect()
    broker = connection._impl.server_properties  # pylint: disable=protected-access
    connection.close()
    version = broker["version"]
    print(f"- Machine: {model[1] if model else platform.machine()}, {os.cpu_count()} processors, "
          f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB, Linux {platform.release()}")
    print(f"- Libraries: {library_versions()}")
    print(f"- Servers on the same machine: RabbitMQ {version.decode() if isinstance(version, bytes) else version}, "
          f"Apache Kafka {KAFKA_VERSION} (one broker, {options.partitions} partitions)")
    print(f"- {options.events:,} events of {options.endpoints:,} endpoints, {options.rounds} rounds; median (lowest to "
          "highest)")
    print(f"- Command: `bench/pipeline.py {' '.join(sys.argv[1:])}`\n")


def print_tables(results):
    print("| messages | cbtap, µs an event | bare loop, µs a record | difference, µs | ratio | events/s | peak RSS, MiB |")
    print("|---|---|---|---|---|---|---|")
    for shape in dict.fromkeys(r["shape"] for r in results):
        rows = [r for r in results if r["shape"] == shape]
        print(f"| {SHAPES[shape]} ({rows[0]['messages']:,}) | {spread([r['cpu_us'] for r in rows])} "
              f"| {spread([r['bare_us'] for r in rows])} | {spread([r['cpu_us'] - r['bare_us'] for r in rows])} "
              f"| {spread([r['cpu_us'] / r['bare_us'] for r in rows])} | {spread([r['events_per_s'] for r in rows], 0)} "
              f"| {spread([r['peak_mib'] for r in rows], 0)} |")
    print("\nProcessor time of cbtap by thread, µs an event (median):\n")
    names = sorted({name for r in results for name in r["threads_us"]},
                   key=lambda name: -max(r["threads_us"].get(name, 0) for r in results))
    names = [name for name in names if max(r["threads_us"].get(name, 0) for r in results) >= 0.005]
    print(f"| messages | {' | '.join(names)} |")
    print(f"|---|{'---|' * len(names)}")
    for shape in dict.fromkeys(r["shape"] for r in results):
        rows = [r for r in results if r["shape"] == shape]
        print(f"| {SHAPES[shape]} | " + " | ".join(
            f"{statistics.median(r['threads_us'].get(name, 0) for r in rows):.2f}" for name in names) + " |")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(HERE, "..", "build", "release"), help="build folder (%(default)s)")
    parser.add_argument("--events", type=int, default=1000000, help="of each run (%(default)s)")
    parser.add_argument("--endpoints", type=int, default=1000, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--shape", action="append", choices=SHAPES, help="only this one (all three)")
    parser.add_argument("--seed", type=int, default=1, help="of the events (%(default)s)")
    parser.add_argument("--partitions", type=int, default=4, help="of the topic (%(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE",
                        help="a setting of the daemon, e.g. source.bus.prefetch=1000; properties of librdkafka "
                        "(sink.kafka.kafka.linger.ms=5) go to the bare loop too")
    parser.add_argument("--timeout-s", type=int, default=600, help="for a run of the daemon (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="every round's numbers")
    options = parser.parse_args()
    options.shape = options.shape or list(SHAPES)
    for name, program in (("cbtap", "cbtap"), ("loadgen", "cbtap-loadgen"), ("bare", "cbtap-bare-produce")):
        path = os.path.join(options.build, "bin", program)
        if not os.access(path, os.X_OK):
            parser.error(f"there is no {path}: cmake --preset release && cmake --build --preset release")
        setattr(options, name, path)
    return options


def main():
    options = parse_options()
    directory = tempfile.mkdtemp(prefix="cbtap-bench-")
    results = []
    try:
        # Room for a million single messages below the mark at which RabbitMQ stops publishers.
        with RabbitMQ(directory, **{"vm_memory_high_watermark.absolute": "6GB"}) as rabbitmq, \
                Kafka(directory, heap="1g", partitions=options.partitions) as kafka:
            rabbitmq.declare_exchanges()
            print_machine(options, rabbitmq)
            for number in range(options.rounds):
                results += [measure(options, shape, number, rabbitmq, kafka, directory) for shape in options.shape]
    except (Failed, ServiceError) as e:
        say(f"pipeline.py: {e}")
        return 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print_tables(results)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump(results, f, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
