# SPDX-License-Identifier: MIT
"""Kafka over TLS, with client certificates and SCRAM: who is let in, who is kept out and in which words, and that events
wait for it."""
import json
import re
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from bus import Publisher
from certificates import Authority
from events import Fleet, bundle_of
from kafka_service import SCRAM_VERSION, Kafka, jar_dir
from process import ServiceError
from test_dlq import dlq

# TLS is librdkafka's.
pytestmark = pytest.mark.without("address", "thread")

NAMES = "DNS:kafka.example,IP:127.0.0.1"
PASSWORD = "right-s3cret-m4rker"
WRONG = "wr0ng-s3cret-m4rker"


class Tls:
    """A Kafka with two listeners that speak TLS: SSL wants client certificates, SASL_SSL a user and a password."""

    def __init__(self, folder, log_dir, **options):
        self.folder = folder
        self.ours, self.other = Authority(folder, "our-ca"), Authority(folder, "other-ca")
        self.good = self.ours.issue("good", "kafka.example", "serverAuth,clientAuth", NAMES)
        self.renewed = self.other.issue("renewed", "kafka.example", "serverAuth,clientAuth", NAMES)
        self.client = self.ours.issue("client", "cbtap", "clientAuth")
        self.foreign = self.other.issue("foreign", "cbtap", "clientAuth")
        self.trusted, self.live = str(folder / "trusted.pem"), str(folder / "live.pem")
        shutil.copy(self.ours.ca, self.trusted)
        self.show(self.good)
        self.kafka = Kafka(log_dir, listeners=("SSL", "SASL_SSL"), scram={"cbtap": PASSWORD}, **options, **{
            "inter.broker.listener.name": "PLAINTEXT", "ssl.keystore.type": "PEM", "ssl.keystore.location": self.live,
            "ssl.truststore.type": "PEM", "ssl.truststore.location": self.trusted,
            "listener.name.ssl.ssl.client.auth": "required", "listener.name.sasl_ssl.ssl.client.auth": "none",
            "listener.name.sasl_ssl.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "listener.name.sasl_ssl.plain.sasl.jaas.config":
                f'org.apache.kafka.common.security.plain.PlainLoginModule required user_cbtap="{PASSWORD}";',
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config":
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"})
        self.kafka.name = "kafka-tls"

    def show(self, pair):
        """Makes it the broker's certificate, from the next start on."""
        with open(self.live, "w", encoding="utf-8") as out:
            for path in reversed(pair):
                with open(path, encoding="utf-8") as f:
                    out.write(f.read())

    def restart(self, pair, trusted):
        self.kafka.stop()
        self.show(pair)
        shutil.copy(trusted, self.trusted)
        self.kafka.start()

    def login(self, password=PASSWORD, mechanism="PLAIN", **changes):
        return {"kafka.bootstrap.servers": f"127.0.0.1:{self.kafka.ports['SASL_SSL']}",
                "kafka.security.protocol": "sasl_ssl", "kafka.sasl.mechanism": mechanism, "kafka.sasl.username": "cbtap",
                "kafka.sasl.password": password, "kafka.ssl.ca.location": self.ours.ca} | changes

    def certificate(self, pair, **changes):
        own = {"kafka.ssl.certificate.location": pair[0], "kafka.ssl.key.location": pair[1]} if pair else {}
        return {"kafka.bootstrap.servers": f"127.0.0.1:{self.kafka.ports['SSL']}", "kafka.security.protocol": "ssl",
                "kafka.ssl.ca.location": self.ours.ca} | own | changes


@pytest.fixture(scope="module")
def tls(tmp_path_factory, log_dir):
    server = Tls(tmp_path_factory.mktemp("kafka-tls"), log_dir)
    try:
        server.kafka.start()
        yield server
    finally:
        server.kafka.close()


def check(run, directory, sink):
    """Runs `cbtap check --connect` with these keys of the sink; returns whether it got there, and what it said."""
    conf = directory / "check.conf"
    keys = {"type": "kafka", "topic": run.topic, "dead_letter_dir": run.dead_dir} | sink
    conf.write_text("[source.bus]\ntype = amqp\nurl = amqp://127.0.0.1:1\nconnect_timeout_ms = 100\n[sink.kafka]\n"
                    + "".join(f"{key} = {value}\n" for key, value in keys.items()), encoding="utf-8")
    done = subprocess.run([run.binary, "check", "-c", conf, "--connect"], capture_output=True, text=True, timeout=120,
                          check=False)
    assert PASSWORD not in done.stderr and WRONG not in done.stderr
    line = re.search(r"^.* section=sink\.kafka .*$", done.stderr, re.MULTILINE)
    assert line, done.stderr
    return line[0].startswith("info ok"), line[0]


def test_good_certificates_and_passwords_get_there(run, tls, tmp_path):
    for sink in (tls.login(), tls.certificate(tls.client)):
        good, said = check(run, tmp_path, sink)
        assert good and "1 broker" in said, said


def test_what_is_refused_is_said_with_what_to_do(run, tls, tmp_path):
    port = tls.kafka.ports["SASL_SSL"]
    refused = (
        (tls.login(**{"kafka.ssl.ca.location": tls.other.ca}), "kafka.ssl.ca.location"),
        (tls.certificate(tls.client, **{"kafka.ssl.ca.location": tls.other.ca}), "kafka.ssl.ca.location"),
        (tls.login(**{"kafka.bootstrap.servers": f"localhost:{port}"}), "the name by which Kafka is reached"),
        (tls.certificate(None), "wants a client certificate"),
        (tls.certificate(tls.foreign), "wants a client certificate"),
        (tls.login(WRONG), "check kafka.sasl.username and kafka.sasl.password"),
        (tls.login(**{"kafka.sasl.username": "nobody"}), "check kafka.sasl.username and kafka.sasl.password"),
        (tls.login(mechanism="SCRAM-SHA-512", password=WRONG), "check kafka.sasl.username and kafka.sasl.password"),
        (tls.login(**{"kafka.security.protocol": "ssl"}), "kafka.security.protocol"))

    def checked(number):
        (tmp_path / str(number)).mkdir()
        return check(run, tmp_path / str(number), refused[number][0])

    with ThreadPoolExecutor(len(refused)) as pool:
        for number, (good, said) in enumerate(pool.map(checked, range(len(refused)))):
            assert not good and refused[number][1] in said, said


@pytest.mark.parametrize("way", ["password", "certificate"])
def test_events_and_dead_letters_over_tls(run, tls, rabbitmq, pb, way):
    fleet = Fleet(pb, sensors=2)
    sink = tls.login() if way == "password" else tls.certificate(tls.client)
    tap = run.tap(tls.kafka, rabbitmq, cbtap={"log.level": "debug"}, **{
        "sink.kafka": sink | {"kafka.debug": "all"}}).start()
    with Publisher(rabbitmq) as publisher:
        for sensor in fleet.sensors:
            publisher.raw(fleet.bundle(sensor, 50), {"sensorId": sensor})
        publisher.raw(bundle_of([b"\xff\xff\xff"]), {"sensorId": 100})
    tap.wait_rest(frames=3)
    tap.stop()
    fleet.check(tls.kafka.records(run.topic))
    out, status, err = dlq(tap, "list", "--format", "json")
    assert status == 0 and [json.loads(line)["reason"] for line in out.splitlines()] == ["malformed"], err
    assert PASSWORD not in tap.log() + err + out and "librdkafka" in tap.log()


def scram_kafka(directory, log_dir):
    try:
        jar_dir(SCRAM_VERSION)
    except ServiceError as e:
        pytest.skip(str(e))
    return Tls(directory, log_dir, version=SCRAM_VERSION)


def test_scram_password_is_wrong_then_changed(run, rabbitmq, pb, tmp_path, log_dir):
    fleet = Fleet(pb, sensors=1)
    tls = scram_kafka(tmp_path, log_dir)
    with tls.kafka as kafka:
        tap = run.tap(kafka, rabbitmq, **{"sink.kafka": tls.login(WRONG, "SCRAM-SHA-512")}).start(ready=False)
        tap.wait_log(r"^warning Kafka refuses us.*invalid credentials.*hint=.*kafka\.sasl\.password")
        tap.wait_log(r"^info connected source=bus")
        with Publisher(rabbitmq) as publisher:
            publisher.raw(fleet.bundle(100, 5), {"sensorId": 100})
        tap.wait(lambda m: m("cbtap_inflight_frames") == 1)
        status, reasons = tap.get("/readyz")
        assert status == 503 and "invalid credentials" in reasons, reasons
        kafka.set_password("cbtap", WRONG)
        tap.wait_ready()
        tap.wait_rest(frames=1)
        # A topic that the broker makes when it is asked for is not there at once, which may be said too.
        told = [line for line in tap.log().splitlines() if re.match("(warning|error) ", line) and "Unknown topic" not in line]
        assert len(told) == 1 and WRONG not in tap.log(), told
        assert "info Kafka answers again" in tap.log()
        fleet.check(kafka.records(run.topic))
        tap.stop()


def test_renewed_files_are_taken_at_sighup(run, tls, rabbitmq, pb, tmp_path):
    """The broker's certificate and the CA that it trusts are exchanged under a daemon that runs: only SIGHUP helps."""
    ca, cert, key = (tmp_path / name for name in ("ca.pem", "client.pem", "client.key"))

    def put(authority, pair):
        for source, target in ((authority.ca, ca), (pair[0], cert), (pair[1], key)):
            shutil.copy(source, target)

    def publish(sensor):
        with Publisher(rabbitmq, persistent=True) as publisher:
            publisher.raw(fleet.bundle(sensor, 5), {"sensorId": sensor})

    def reload(pattern):
        said = len(tap.log())
        tap.process.signal(signal.SIGHUP)
        tap.wait_log(pattern, after=said)
        tap.wait_log(r"^info configuration loaded again", after=said)

    fleet = Fleet(pb, sensors=2)
    put(tls.ours, tls.client)
    tap = run.tap(tls.kafka, rabbitmq, **{
        "sink.kafka": tls.certificate((cert, key), **{"kafka.ssl.ca.location": ca})}).start()
    with Publisher(rabbitmq) as publisher:
        publisher.raw(bundle_of([b"\xff\xff\xff"]), {"sensorId": 100})
    publish(100)
    tap.wait_rest(frames=2)
    try:
        tls.restart(tls.renewed, tls.other.ca)
        tap.wait_log(r"^warning Kafka refuses us.*kafka\.ssl\.ca\.location")
        with Publisher(rabbitmq) as publisher:
            publisher.raw(bundle_of([b"\xff\xff\xff"]), {"sensorId": 100})
        publish(101)
        tap.wait(lambda m: m("cbtap_inflight_frames") == 2)
        # Half of a renewal: the daemon says so and waits for the rest.
        cert.write_text("no certificate", encoding="utf-8")
        reload(r"^error the TLS files have changed and cannot be used.*ssl\.certificate\.location")
        put(tls.other, tls.foreign)
        reload(r"^info the TLS files have changed: Kafka is connected to anew")
        tap.wait_ready()
        tap.wait_rest(frames=4)
        fleet.check(tls.kafka.records(run.topic))
        assert tap.metrics()("cbtap_sink_delivered_dead_letters_total") == 2
        reload(r"^info configuration loaded again")
        assert tap.log().count("Kafka is connected to anew") == 1, "nothing had changed"
        tap.stop()
    finally:
        tls.restart(tls.good, tls.ours.ca)
