# SPDX-License-Identifier: MIT
"""A real Apache Kafka for tests: one node, or a cluster of several, each broker and controller at once (KRaft)."""
import glob
import json
import os
import subprocess

from process import Service, ServiceError, answers, free_port, tail

VERSION = "4.1.1"
# The last one that lets in librdkafka before 2.6.1 by SCRAM.
SCRAM_VERSION = "3.9.1"
CLUSTER_ID = "Y2J0YXAtdGVzdHMtMTIzNA"
LOGGER = "/usr/share/java/slf4j-simple.jar"  # comes with Debian's maven; without it Kafka logs nothing


def jar_dir(version=VERSION):
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    beside = os.environ.get("CBTAP_KAFKA_DIR") or os.path.join(cache, "cbtap", f"kafka-{VERSION}-tools")
    path = beside if version == VERSION else os.path.join(os.path.dirname(beside), f"kafka-{version}-tools")
    if not os.path.exists(os.path.join(path, f"kafka-tools-{version}.jar")):
        raise ServiceError(f"{path} holds no Apache Kafka {version}: run tools/bootstrap.sh")
    return path


def java():
    """Debian's own: what comes first on PATH may be too old."""
    for path in ("/usr/lib/jvm/default-java/bin/java", *sorted(glob.glob("/usr/lib/jvm/java-*-openjdk-*/bin/java"))):
        if os.path.exists(path):
            return path
    return "java"


class Kafka(Service):
    name = "kafka"
    start_timeout_s = 120
    stop_timeout_s = 60

    def __init__(self, log_dir=None, heap="512m", partitions=4, message_max_bytes=1048588, listeners=(), scram=(),
                 version=VERSION, node_id=1, **settings):
        """Listeners besides the plain one, by the name of their protocol; users and passwords for SCRAM-SHA-512."""
        super().__init__(log_dir)
        self.heap = heap
        self.version = version
        self.scram = dict(scram)
        self.node_id = node_id
        self.port, self.controller_port = free_port(), free_port()
        self.ports = {name: free_port() for name in listeners}
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.settings = {"num.partitions": partitions, "message.max.bytes": message_max_bytes,
                         "controller.quorum.voters": self.voter()} | settings

    def voter(self):
        return f"{self.node_id}@127.0.0.1:{self.controller_port}"

    def prepare(self):
        served = "".join(f",{name}://127.0.0.1:{port}" for name, port in self.ports.items())
        settings = {
            "process.roles": "broker,controller", "node.id": self.node_id,
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}{served}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}{served}",
            # Without it Kafka takes the names for protocols, but for CONTROLLER only where all are plain.
            "listener.security.protocol.map": ",".join(
                ["CONTROLLER:PLAINTEXT", "PLAINTEXT:PLAINTEXT", *(f"{name}:{name}" for name in self.ports)]),
            "controller.listener.names": "CONTROLLER", "log.dirs": os.path.join(self.dir, "data"),
            "offsets.topic.replication.factor": 1, "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": 1, "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": 1, "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0, "auto.create.topics.enable": "true",
            "log.retention.ms": -1, "log.retention.bytes": -1, "log.cleaner.enable": "false",
            "num.network.threads": 2, "num.io.threads": 2, "num.recovery.threads.per.data.dir": 1,
            # After a crash the broker is let in again when the session of its earlier life is over.
            "controlled.shutdown.enable": "false", "broker.heartbeat.interval.ms": 300, "broker.session.timeout.ms": 2000,
        } | self.settings
        with open(os.path.join(self.dir, "server.properties"), "w", encoding="utf-8") as f:
            f.writelines(f"{key}={value}\n" for key, value in settings.items())
        done = subprocess.run([*self._java("128m"), "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c",
                               "server.properties", *self._scram_arguments()], cwd=self.dir, capture_output=True, text=True,
                              timeout=self.start_timeout_s, check=False)
        if done.returncode != 0:
            raise ServiceError(f"Kafka's storage could not be formatted:\n{done.stdout}{done.stderr}")

    def _java(self, heap):
        return [java(), f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true",
                "-cp", f"{LOGGER}:{jar_dir(self.version)}/*"]

    def _scram_arguments(self):
        return [word for user, password in self.scram.items()
                for word in ("--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]")]

    def set_password(self, user, password):
        """Creates the user, or changes the password, while it runs."""
        self.tool("kafka.admin.ConfigCommand", "--alter", "--add-config", f"SCRAM-SHA-512=[password={password}]",
                  "--entity-type", "users", "--entity-name", user)

    def argv(self):
        return [*self._java(self.heap), "kafka.Kafka", "server.properties"]

    def check(self):
        """It serves once the broker stands in its own metadata."""
        if not answers(self.port):
            return False
        done = subprocess.run(["kcat", "-L", "-J", "-m", "5", "-b", self.bootstrap], capture_output=True, timeout=30,
                              check=False)
        return done.returncode == 0 and bool(json.loads(done.stdout)["brokers"])

    def tool(self, name, *args):
        """One of Kafka's own tools, by its class. Returns what it printed."""
        done = subprocess.run([*self._java("128m"), name, "--bootstrap-server", self.bootstrap, *map(str, args)],
                              capture_output=True, text=True, timeout=90, check=False)
        if done.returncode != 0:
            raise ServiceError(f"{name} {args}: {done.stdout}{done.stderr}")
        return done.stdout

    def topics(self, *args):
        return self.tool("org.apache.kafka.tools.TopicCommand", *args)

    def records(self, topic, extra=()):
        """Every record of the topic, in the order of each partition, read by kcat: dicts with topic, partition, offset,
        ts, key (str or None), payload (bytes or None), headers (a dict). No such topic: no records."""
        done = subprocess.run(
            ["kcat", "-C", "-b", self.bootstrap, "-t", topic, "-o", "beginning", "-e", "-q", "-J", "-m", "10",
             "-X", "fetch.wait.max.ms=20", "-X", "check.crcs=true", *extra], capture_output=True, timeout=120, check=False)
        if done.returncode != 0:
            message = done.stderr.decode(errors="replace")
            if "Unknown topic or partition" in message:
                return []
            raise ServiceError(f"kcat failed: {message}\n{tail(self.log)}")
        found = []
        # kcat writes the bytes of a payload as they are but for those that JSON escapes.
        for line in done.stdout.decode("utf-8", "surrogateescape").split("\n")[:-1]:
            record = json.loads(line, strict=False)
            names = record.get("headers") or []
            record["headers"] = dict(zip(names[::2], names[1::2]))
            if record["payload"] is not None:
                record["payload"] = record["payload"].encode("utf-8", "surrogateescape")
            found.append(record)
        return found

    def variables(self):
        return {"KAFKA_BOOTSTRAP": self.bootstrap}


class KafkaCluster:
    """Several nodes of one cluster: what is written is on all of them, and any one may go."""

    def __init__(self, log_dir=None, nodes=3, **settings):
        self.nodes = [Kafka(log_dir, heap="384m", node_id=number + 1, **settings) for number in range(nodes)]
        voters = ",".join(node.voter() for node in self.nodes)
        for node in self.nodes:
            node.log = node.log.replace(".log", f"-{node.node_id}.log")
            node.settings |= {"controller.quorum.voters": voters, "default.replication.factor": nodes,
                              "min.insync.replicas": nodes // 2 + 1}
        self.bootstrap = ",".join(node.bootstrap for node in self.nodes)

    def partitions(self, topic):
        """What the cluster says of each partition: a list of dicts with leader and isrs."""
        done = subprocess.run(["kcat", "-L", "-J", "-m", "10", "-b", self.bootstrap, "-t", topic], capture_output=True,
                              timeout=30, check=True)
        return json.loads(done.stdout)["topics"][0]["partitions"]

    def close(self):
        for node in self.nodes:
            node.close()
