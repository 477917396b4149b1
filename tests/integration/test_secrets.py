# SPDX-License-Identifier: MIT
"""A secret is in no log line, error, page, printed configuration, process list or core dump, wherever it was given."""
import os
import re
import resource
import signal
import subprocess

import pytest

from events import Fleet
from bus import Publisher
from process import until
from redis_service import Redis

# It is about text, not memory.
pytestmark = pytest.mark.without("address", "thread")

SECRET = "s3cret-m4rker"
FILES = ("config", "file", "environment")
PAGES = ("/", "/healthz", "/readyz", "/status.json", "/metrics", f"/{SECRET[:3]}")


def assert_kept(*outputs):
    for text in outputs:
        at = text.find(SECRET)
        assert at < 0, f"the secret is in: ...{text[max(0, at - 300):at + 100]}"


def given(how, directory):
    """The secret as a value that is given in that way."""
    if how == "config":
        return SECRET
    if how == "environment":
        return "${MARKER}"
    path = os.path.join(directory, "secret")
    with open(path, "w", encoding="utf-8") as f:
        f.write(SECRET + "\n")
    return f"@{path}"


def everywhere(value, url_value):
    """Sections with the secret in each key that may hold one; its Kafka says no to it."""
    return {
        "source.bus": {"type": "amqp", "url": f"amqp://guest:{url_value}@127.0.0.1:1/%2F"},
        "source.pubsub": {"type": "redis", "port": 1, "username": "u", "password": value},
        "sink.kafka": {
            "type": "kafka", "kafka.bootstrap.servers": "127.0.0.1:1", "kafka.security.protocol": "sasl_plaintext",
            "kafka.sasl.mechanism": "SCRAM-SHA-512", "kafka.sasl.username": "u", "kafka.sasl.password": value,
            "kafka.ssl.key.password": value, "kafka.ssl.keystore.password": value,
            "kafka.sasl.oauthbearer.config": value,
            "kafka.debug": "all", "dead_letter_dir": "/tmp"},
    }


def write(path, sections):
    with open(path, "w", encoding="utf-8") as f:
        for name, keys in sections.items():
            f.write(f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items()))
    return path


def outputs_of(*argv, status=None):
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=120, check=False,
                          env=os.environ | {"MARKER": SECRET})
    assert status is None or done.returncode == status, done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize("how", FILES)
def test_no_command_shows_one(run, tmp_path, how):
    value = given(how, tmp_path)
    config = write(tmp_path / "c.conf", everywhere(value, "${MARKER}" if how == "environment" else SECRET))
    out, err = outputs_of(run.binary, "check", "--print", "-c", config, status=0)
    assert_kept(out, err)
    # One for each, so that there is no place where none could be.
    assert out.count("********") == 6, out
    if how != "config":
        return
    assert_kept(*outputs_of(run.binary, "check", "--connect", "-c", config, "-s", "cbtap.log.level=debug", "-s",
                            "source.bus.connect_timeout_ms=100", status=1))
    assert_kept(*outputs_of(run.binary, "dlq", "list", "-c", config, "-s", "cbtap.log.level=debug"))


def test_no_error_shows_one(run, tmp_path):
    good = everywhere(SECRET, SECRET)
    broken = [
        {"source.bus": {"url": f"amqp://guest:{SECRET}@/@127.0.0.1"}},
        {"source.bus": {"url": f"guest:{SECRET}@127.0.0.1"}},
        {"source.bus": {"url": f"http://guest:{SECRET}@127.0.0.1:1/"}},
        {"source.bus": {"url": f"amqp://guest:{SECRET}@127.0.0.1:port/"}},
        {"source.bus": {"pasword": SECRET}},
        {"source.pubsub": {"password": SECRET + "\x01"}},
        {"source.pubsub": {"password": SECRET + "\\n" * 40000}},
        {"source.pubsub": {"password": f"{SECRET}${{"}},
        {"source.pubsub": {"password": f"${{NOT_SET}}{SECRET}"}},
        {"source.pubsub": {"sasl.password": SECRET}},
        {"sink.kafka": {"kafka.ssl.key.pem": SECRET, "kafka.security.protocol": "ssl"}},
        {"sink.kafka": {"kafka.sasl.pasword": SECRET}},
        {"sink.kafka": {"sasl.password": SECRET}},
        {"sink.kafka": {"kafka.sasl.password": SECRET, "kafka.SASL.PASSWORD": SECRET}},
        {"sink.kafka": {"kafka.sasl.mechanism": "OAUTHBEARER", "kafka.sasl.oauthbearer.config": SECRET}},
        {"sink.kafka": {"kafka.transactional.id": "x"}},
    ]
    for number, change in enumerate(broken):
        sections = {name: keys | change.get(name, {}) for name, keys in good.items()}
        config = write(tmp_path / f"{number}.conf", sections)
        out, err = outputs_of(run.binary, "check", "--print", "--connect", "-c", config, "-s",
                              "source.bus.connect_timeout_ms=100")
        assert_kept(out, err)
        assert "error" in err, change
    config = write(tmp_path / "good.conf", good)
    for word in (f"source.pubsub.password {SECRET}", f"source.pubsub.password:{SECRET}", f"={SECRET}",
                 f"source.pubsub.pass={SECRET}\x01"):
        assert_kept(*outputs_of(run.binary, "check", "-c", config, "-s", word, status=2))
    loadgen = os.path.join(os.path.dirname(run.binary), "cbtap-loadgen")
    for url in (f"amqp://guest:{SECRET}@/@127.0.0.1:1", f"amqps://guest:{SECRET}@127.0.0.1:1",
                f"amqp://guest:{SECRET}@127.0.0.1:1"):
        out, err = outputs_of(loadgen, "publish", "--amqp", url, "--events", 1)
        assert_kept(out, err)
        assert "amqp" in err.lower() or "rabbitmq" in err.lower(), err


def test_the_daemon_shows_none_at_debug_level(run, rabbitmq, kafka, pb, log_dir):
    """A Redis that knows the secret, a broker and a Kafka that do not; then a reload."""
    with Redis(log_dir, password=SECRET) as redis:
        tap = run.tap(kafka, rabbitmq, redis, cbtap={"log.level": "debug"}, **{
            "source.other": {"type": "amqp", "url": rabbitmq.url.replace("guest:guest", f"guest:{SECRET}"), "queue": run.queue},
            "source.pubsub": {"password": SECRET},
            "sink.kafka": {"kafka.debug": "all", "kafka.sasl.password": SECRET, "kafka.sasl.username": "u",
                           "kafka.ssl.key.password": SECRET}}).start(ready=False)
        for source in ("bus", "pubsub"):
            tap.wait_log(f"^info connected source={source}")
        tap.wait_log(r"^(warning|error) .*source=other.*")
        with Publisher(rabbitmq) as publisher:
            publisher.raw(Fleet(pb, sensors=1).bundle(100, 2), {"sensorId": 100})
        tap.wait_rest(frames=1)
        pages = [tap.get(path)[1] for path in PAGES]
        for number in (signal.SIGHUP, signal.SIGUSR1):
            tap.process.signal(number)
        tap.wait_log(r"^info status ")
        with open(f"/proc/{tap.process.pid}/cmdline", encoding="utf-8") as f:
            pages.append(f.read())
        tap.stop()
        assert "facility" in tap.log(), "librdkafka said nothing"
        assert_kept(tap.log(), *pages)


def start(run, tmp_path, *words, **options):
    config = write(tmp_path / "c.conf", {"cbtap": {"http_listen": ""}} | everywhere(SECRET, SECRET))
    with open(tmp_path / "log", "w", encoding="utf-8") as log:
        daemon = subprocess.Popen([run.binary, "run", "-c", str(config), *words], cwd=tmp_path, stdout=log, stderr=log,  # pylint: disable=consider-using-with
                                  env=os.environ | {"MARKER": SECRET}, **options)
    until(lambda: re.search(r"^info started", (tmp_path / "log").read_text(), re.MULTILINE), 60, "the daemon to start")
    return daemon


def test_the_process_list_shows_none_and_a_warning_is_given(run, tmp_path):
    words = [f"source.pubsub.password={SECRET}", f"source.bus.url=amqp://guest:{SECRET}@127.0.0.1:1/%2F",
             f"sink.kafka.kafka.sasl.password={SECRET}", "sink.kafka.kafka.ssl.key.password=${MARKER}"]
    daemon = start(run, tmp_path, *(part for word in words for part in ("-s", word)))
    try:
        with open(f"/proc/{daemon.pid}/cmdline", encoding="utf-8") as f:
            seen = f.read()
        assert_kept(seen)
        assert "@127.0.0.1:1/%2F" in seen and "=${MARKER}" in seen, seen
        # The copy is what counts, also for a reload.
        daemon.send_signal(signal.SIGHUP)
        until(lambda: "configuration loaded again" in (tmp_path / "log").read_text(), 30, "the reload")
    finally:
        daemon.terminate()
        daemon.wait(60)
    log = (tmp_path / "log").read_text()
    assert_kept(log)
    warned = re.findall(r"^warning a secret on the command line.* key=(\S+)", log, re.MULTILINE)
    assert warned == [word.partition("=")[0] for word in words[:3]], log
    assert "takes effect with a restart only" not in log


def dumped(daemon):
    daemon.send_signal(signal.SIGABRT)
    status = os.waitpid(daemon.pid, 0)[1]
    daemon.returncode = status
    assert os.WTERMSIG(status) == signal.SIGABRT
    return os.WCOREDUMP(status)


def unlimited_core():
    resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)


def test_no_core_is_dumped_unless_asked_for(run, tmp_path):
    (tmp_path / "on").mkdir()
    on = start(run, tmp_path / "on", "-s", "cbtap.core_dumps=true", preexec_fn=unlimited_core)
    if not dumped(on):
        pytest.skip("this machine dumps no core")
    cores = [path for path in (tmp_path / "on").iterdir() if path.name.startswith("core")]
    assert not cores or SECRET.encode() in cores[0].read_bytes(), "the secret is not where it would be found"
    (tmp_path / "off").mkdir()
    assert not dumped(start(run, tmp_path / "off", preexec_fn=unlimited_core))
    assert not [path for path in (tmp_path / "off").iterdir() if path.name.startswith("core")]
