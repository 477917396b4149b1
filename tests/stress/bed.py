# SPDX-License-Identifier: MIT
"""The real servers of a stress run, started when a case first asks for them and healthy again for each case."""
import os
import shutil
import tempfile

from events import event_messages
from kafka_service import Kafka, KafkaCluster
from load import ROUND
from process import answers, until
from rabbitmq_service import RabbitMQ
from redis_service import Redis
from run import Scale
from services import start_all


class Bed:
    """Servers, binaries, and how much this build can take."""

    def __init__(self, build, sanitizer, short, away_s, log_dir=None):
        self.build, self.short, self.away_s = build, short, away_s
        self.cbtap = os.path.join(build, "bin", "cbtap")
        self.scale = Scale(sanitizer)
        self.directory = tempfile.mkdtemp(prefix="cbtap-chaos-")
        self.log_dir = os.path.abspath(log_dir) if log_dir else os.path.join(self.directory, "logs")
        os.makedirs(self.log_dir, exist_ok=True)
        self.servers = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in self.servers.values():
            server.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _server(self, kind, make):
        if kind not in self.servers:
            self.servers[kind] = make()
        return self.servers[kind].again()

    def rabbitmq(self):
        server = self._server("rabbitmq", lambda: RabbitMQ(self.log_dir))
        server.declare_exchanges()
        return server

    def kafka(self):
        return self._server("kafka", lambda: Kafka(self.log_dir))

    def kafka_without_topics(self):
        """One that makes no topic because it is asked for."""
        return self._server("kafka-without-topics", lambda: Kafka(self.log_dir, **{"auto.create.topics.enable": "false"}))

    def guarded_kafka(self):
        """One that asks whether a client may."""
        return self._server("guarded-kafka", lambda: Kafka(self.log_dir, **{
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "true"}))

    def kafka_cluster(self):
        if "cluster" not in self.servers:
            self.servers["cluster"] = KafkaCluster(self.log_dir)
        cluster = self.servers["cluster"]
        start_all([node for node in cluster.nodes if not node.alive()])
        return cluster

    def redis(self, **settings):
        return self._server(f"redis {settings}", lambda: Redis(self.log_dir, **settings))

    def pb(self):
        """The event messages for Python."""
        return event_messages(self.directory)

    def fault_env(self, env, directory):
        """The environment that preloads tests/stress/faults.c."""
        library = os.path.join(self.build, "lib", "libcbtap_faults.so")
        return env | {"LD_PRELOAD": library, "CBTAP_FAULTS": directory,
                      "ASAN_OPTIONS": env["ASAN_OPTIONS"] + ":verify_asan_link_order=0"}

    def quick(self, short, long):
        return short if self.short else long

    def events(self, count):
        """So many, fewer where a sanitizer makes them dear; whole rounds of the load."""
        return max(ROUND, self.scale(count) // ROUND * ROUND)

    def keep_log(self, name, text):
        with open(os.path.join(self.log_dir, name), "w", encoding="utf-8") as f:
            f.write(text)


def wait_answers(server, timeout_s=90):
    """Waits until the server's port accepts connections."""
    until(lambda: answers(server.port), timeout_s, f"{server.name} to listen", 0.005)


def read_from(path, offset):
    with open(path, "rb") as f:
        f.seek(offset)
        return f.read()


def close_consumers(rabbitmq, queue):
    """Closes the connections of the queue's consumers, not of who publishes."""
    rabbitmq.ctl("eval", f'[[rabbit_networking:close_connection(C, "test") || {{P, _, _, _, _, _, _, _}} <- '
                         f'rabbit_amqqueue:consumers(Q), [{{connection, C}}] <- [rabbit_channel:info(P, [connection])]] || '
                         f'{{ok, Q}} <- [rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{queue}">>))]].')
