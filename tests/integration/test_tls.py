# SPDX-License-Identifier: MIT
"""AMQPS: who is let in, who is kept out and in which words, and that nothing is lost over it."""
import re
import shutil
import subprocess

import pytest

from bus import Load, Publisher, wait_drained
from certificates import Authority
from events import Fleet
from process import answers, free_port, until
from rabbitmq_service import RabbitMQ

# TLS is the receiver's alone.
pytestmark = pytest.mark.without("thread")

# Its alert, or where that was lost on the way, what both come to: see amqp_connect.c.
REFUSES_OURS = re.compile(r"does not trust the CA that issued tls\.cert|or refuses that of tls\.cert")
WANTS_OURS = re.compile(r"wants a client certificate(: set tls\.cert and tls\.key| \(tls\.cert, tls\.key\))")
NAMES = "DNS:localhost,DNS:bus.example,IP:127.0.0.1"


class Tls:
    """A RabbitMQ with a TLS listener, the certificates of which a test may exchange."""

    def __init__(self, folder, log_dir):
        self.ours, self.other = Authority(folder, "our-ca"), Authority(folder, "other-ca")
        self.server, self.server_key = str(folder / "live.pem"), str(folder / "live.key")
        self.good = self.ours.issue("good", "bus.example", "serverAuth", NAMES)
        self.expired = self.ours.issue("expired", "bus.example", "serverAuth", NAMES, days=-1)
        self.renewed = self.other.issue("renewed", "bus.example", "serverAuth", NAMES)
        # RabbitMQ takes the user from the common name.
        self.client = self.ours.issue("client", "guest", "clientAuth")
        self.foreign = self.other.issue("foreign", "guest", "clientAuth")
        self.port = free_port()
        self.show(self.good)
        self.rabbitmq = RabbitMQ(log_dir, plugins=["rabbitmq_auth_mechanism_ssl"], **{
            "listeners.ssl.1": f"127.0.0.1:{self.port}", "ssl_options.cacertfile": self.ours.ca,
            "ssl_options.certfile": self.server, "ssl_options.keyfile": self.server_key,
            "ssl_options.verify": "verify_peer", "ssl_options.fail_if_no_peer_cert": "false",
            "auth_mechanisms.1": "PLAIN", "auth_mechanisms.2": "EXTERNAL", "ssl_cert_login_from": "common_name"})
        self.rabbitmq.name = "rabbitmq-tls"

    def show(self, pair):
        shutil.copy(pair[0], self.server)
        shutil.copy(pair[1], self.server_key)

    def start(self):
        """The listener for TLS comes after the plain one, for which RabbitMQ is asked whether it is ready."""
        self.rabbitmq.start()
        until(lambda: answers(self.port), 60, "RabbitMQ to listen for TLS")

    def restart(self, pair, **settings):
        self.rabbitmq.stop()
        self.show(pair)
        self.rabbitmq.configure(**settings)
        self.start()

    def url(self, host="127.0.0.1", user="guest:guest@", port=None):
        return f"amqps://{user}{host}:{port or self.port}/%2F"

    def source(self, **changes):
        return {"url": self.url(), "tls.ca": self.ours.ca} | changes


@pytest.fixture(scope="module")
def tls(tmp_path_factory, log_dir):
    server = Tls(tmp_path_factory.mktemp("tls"), log_dir)
    try:
        server.start()
        server.rabbitmq.declare_exchanges()
        yield server
    finally:
        server.rabbitmq.close()


@pytest.fixture
def check(run, kafka, tls, tmp_path):
    """Runs `cbtap check --connect` with these keys of the source; returns whether it got there, and all that it said."""
    def checked(**changes):
        conf = tmp_path / "check.conf"
        source = {"type": "amqp", "queue": run.queue} | tls.source(**changes)
        conf.write_text("[source.bus]\n" + "".join(f"{k} = {v}\n" for k, v in source.items() if v is not None)
                        + f"[sink.kafka]\ntype = kafka\nkafka.bootstrap.servers = {kafka.bootstrap}\n"
                        + f"dead_letter_dir = {run.dead_dir}\n", encoding="utf-8")
        done = subprocess.run([run.binary, "check", "-c", conf, "--connect", "-s", "source.bus.connect_timeout_ms=30000"],
                              capture_output=True, text=True, timeout=120, check=False)
        assert "no-such-secret" not in done.stderr + done.stdout
        line = re.search(r"^.* section=source\.bus .*$", done.stderr, re.MULTILINE)
        assert line, done.stderr
        return line[0].startswith("info ok"), done.stderr

    return checked


def test_good_certificate_is_verified_and_said(check, tls):
    good, said = check()
    assert good and "TLSv1.3" in said and f"certificate verified by {tls.ours.ca}" in said, said
    good, said = check(url=tls.url("localhost"))
    assert good, said
    good, said = check(**{"tls.server_name": "bus.example"})
    assert good, said
    assert "NOT VERIFIED" not in said and "tls.verify" not in said


def test_foreign_ca_is_refused_with_what_to_do(check, tls):
    for source in ({"tls.ca": tls.other.ca}, {"tls.ca": None}):
        good, said = check(**source)
        assert not good and "is not trusted" in said and "/CN=our-ca" in said and "set tls.ca" in said, said


def test_wrong_name_is_refused_and_the_right_ones_are_named(check):
    for name in ("other.example", "127.0.0.2"):
        good, said = check(**{"tls.server_name": name})
        assert not good and f"another name than '{name}'" in said, said
        assert "good for: localhost, bus.example, 127.0.0.1" in said and "tls.server_name" in said, said


def test_without_verification_it_connects_and_warns(check, tls):
    good, said = check(**{"tls.ca": tls.other.ca, "tls.verify": "false"})
    assert good and "NOT VERIFIED" in said, said
    assert re.search(r"^warning .*tls\.verify = false: the broker's certificate", said, re.MULTILINE), said


def test_files_that_cannot_be_used_are_named(check, tls, tmp_path):
    encrypted, none = tmp_path / "encrypted.key", tmp_path / "none.pem"
    subprocess.run(["openssl", "ec", "-aes256", "-passout", "pass:x", "-in", tls.client[1], "-out", encrypted],
                   check=True, capture_output=True)
    for changes, key, path in (
            ({"tls.ca": none}, "tls.ca", none),
            ({"tls.ca": tls.client[1]}, "tls.ca", tls.client[1]),
            ({"tls.cert": none}, "tls.cert", none),
            ({"tls.cert": tls.client[0]}, "tls.cert", tls.client[0]),
            ({"tls.cert": tls.client[0], "tls.key": none}, "tls.key", none),
            ({"tls.cert": tls.client[0], "tls.key": encrypted}, "tls.key", encrypted),
            ({"tls.cert": tls.client[0], "tls.key": tls.foreign[1]}, "tls.key", tls.foreign[1])):
        good, said = check(**changes)
        assert not good and f"{key} = {path}: " in said, said


def test_port_without_tls_is_recognised(check, tls):
    good, said = check(url=tls.url(port=tls.rabbitmq.port, user="guest:no-such-secret@"))
    assert not good and "port for TLS" in said, said


def test_client_certificate_logs_in_without_a_password(check, tls):
    external = {"url": tls.url(user=""), "sasl": "external", "tls.cert": tls.client[0], "tls.key": tls.client[1]}
    good, said = check(**external)
    assert good and "user of tls.cert" in said, said
    good, said = check(**external | {"tls.cert": tls.foreign[0], "tls.key": tls.foreign[1]})
    assert not good and REFUSES_OURS.search(said), said


def test_wrong_password_is_said_over_tls(check, tls):
    good, said = check(url=tls.url(user="guest:no-such-secret@"))
    assert not good and "ACCESS_REFUSED" in said, said


def test_load_through_tls_arrives_in_order(run, kafka, pb, scale, tls):
    """Large bodies and little memory: reads stop half-way through TLS records, again and again."""
    fleet = Fleet(pb, sensors=10)
    source = tls.source(**{"sasl": "external", "url": tls.url(user=""), "tls.cert": tls.client[0], "tls.key": tls.client[1]})
    tap = run.tap(kafka, tls.rabbitmq, cbtap={"inflight_bytes": 4 << 20}, **{"source.bus": source}).start()
    load = Load(tls.rabbitmq, fleet, messages=scale(400), events_each=300, per_second=scale(400))
    kafka.pause()
    load.start()
    tap.wait(lambda m: m("cbtap_inflight_bytes") > 1 << 20, what="the share of the source to fill")
    kafka.resume()
    load.finish()
    with Publisher(tls.rabbitmq) as publisher:
        publisher.raw(fleet.bundle(100, 1), {"sensorId": 100})
    metrics = tap.wait_rest(frames=scale(400) + 1)
    assert metrics("cbtap_source_connects_total") == 1
    fleet.check(kafka.records(run.topic))


@pytest.mark.without("address")  # it takes long
def test_expired_then_renewed_by_another_ca_goes_on_without_a_restart(run, kafka, pb, tls, tmp_path):
    ca = tmp_path / "ca.pem"
    shutil.copy(tls.ours.ca, ca)
    fleet = Fleet(pb, sensors=2)
    tap = run.tap(kafka, tls.rabbitmq, **{"source.bus": tls.source(**{"tls.ca": ca})}).start()
    with Publisher(tls.rabbitmq, persistent=True) as publisher:
        publisher.raw(fleet.bundle(100, 5), {"sensorId": 100})
    tap.wait_rest(frames=1)
    try:
        tls.restart(tls.expired)
        tap.wait_log(r"^warning .*certificate of 127\.0\.0\.1 port \d+ is not trusted: certificate has expired.*renew it")
        assert tap.get("/readyz")[0] == 503
        tls.restart(tls.renewed)
        shutil.copy(tls.other.ca, ca)
        tap.wait_ready()
        with Publisher(tls.rabbitmq) as publisher:
            publisher.raw(fleet.bundle(101, 5), {"sensorId": 101})
        wait_drained(tap, tls.rabbitmq, pb)
        fleet.check(kafka.records(run.topic))
    finally:
        tls.restart(tls.good)


@pytest.mark.without("address")  # it takes long
def test_missing_client_certificate_is_named(check, tls):
    for version in ("tlsv1.3", "tlsv1.2"):
        tls.restart(tls.good, **{"ssl_options.fail_if_no_peer_cert": "true", "ssl_options.versions.1": version})
        good, said = check()
        assert not good and WANTS_OURS.search(said), said
        good, said = check(**{"tls.cert": tls.client[0], "tls.key": tls.client[1]})
        assert good and version.replace("tlsv", "TLSv") in said, said
