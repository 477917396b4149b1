# SPDX-License-Identifier: MIT
"""Redis through TLS by stunnel, with the configuration of deploy/: events come through, and not from who is not Redis."""
import os
import re

import pytest

from certificates import Authority
from events import Fleet
from process import Guarded, answers, free_port, until
from redis_service import Redis

EXAMPLE = os.path.join(os.path.dirname(__file__), "..", "..", "deploy", "stunnel-redis.conf.example")

# The tunnel is no part of cbtap.
pytestmark = pytest.mark.without("address", "thread")


class Tunnel:
    """stunnel with the example, but for names, ports and files."""

    def __init__(self, directory, log_dir, redis_port, ca, client, name="redis.example"):
        self.port = free_port()
        with open(EXAMPLE, encoding="utf-8") as f:
            text = f.read()
        for key, value in {"accept": f"127.0.0.1:{self.port}", "connect": f"127.0.0.1:{redis_port}", "CAfile": ca,
                           "checkHost": name, "cert": client[0], "key": client[1]}.items():
            text, count = re.subn(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.MULTILINE)
            assert count == 1, key
        config = directory / f"stunnel-{self.port}.conf"
        config.write_text(text, encoding="utf-8")
        self.log = os.path.join(log_dir, "stunnel.log")
        self.process = Guarded(["/usr/bin/stunnel4", str(config)], self.log)
        until(lambda: answers(self.port), 20, "stunnel")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.release(keep_dir=True)


@pytest.fixture
def tls_redis(tmp_path, log_dir):
    ca = Authority(tmp_path, "ca")
    server = ca.issue("server", "redis.example", "serverAuth", "DNS:redis.example")
    port = free_port()
    with Redis(log_dir, password="secret", tls_port=port, tls_ca_cert_file=ca.ca, tls_cert_file=server[0],
               tls_key_file=server[1]) as redis:
        redis.tls_port, redis.ca, redis.client_pair = port, ca.ca, ca.issue("client", "cbtap", "clientAuth")
        yield redis


def test_events_come_through_and_the_tunnel_may_break(run, tls_redis, kafka, pb, tmp_path, log_dir):
    fleet = Fleet(pb, sensors=1)
    with Tunnel(tmp_path, log_dir, tls_redis.tls_port, tls_redis.ca, tls_redis.client_pair) as tunnel:
        tap = run.tap(kafka, redis=tls_redis, **{"source.pubsub": {"port": tunnel.port, "password": "secret"}}).start()
        with tls_redis.client() as client:
            client.publish("ingress.event.filemod", fleet.record(100, with_env=True))
            tap.wait_rest(frames=1)
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            tap.wait(lambda m: m("cbtap_source_connects_total") == 2 and m("cbtap_source_connected", source="pubsub") == 1)
            client.publish("ingress.event.filemod", fleet.record(100, with_env=True))
        tap.wait_rest(frames=2)
        fleet.check(kafka.records(run.topic))
        tap.stop()


def test_who_has_another_name_gets_no_password(run, tls_redis, kafka, tmp_path, log_dir):
    with Tunnel(tmp_path, log_dir, tls_redis.tls_port, tls_redis.ca, tls_redis.client_pair, "other.example") as tunnel:
        tap = run.tap(kafka, redis=tls_redis, **{"source.pubsub": {"port": tunnel.port, "password": "secret"}})
        tap.start(ready=False)
        tap.wait_log(r"^(warning|error) .*source=pubsub")
        assert tap.get("/readyz")[0] == 503 and tap.metrics()("cbtap_source_connects_total") == 0
        tap.stop()
