# SPDX-License-Identifier: MIT
"""Peers of the sinks beside Kafka: socat and rsyslog, which write what they receive into a file."""
import json
import re

from process import Guarded, answers, free_port, tail, until

RSYSLOG = """
global(workDirectory="{dir}" maxMessageSize="64k" parser.escapeControlCharactersOnReceive="off" {tls_global})
template(name="line" type="string" string="%hostname% %app-name% %msgid% %msg%\\n")
ruleset(name="out") {{ action(type="omfile" file="{out}" template="line" asyncWriting="off" flushOnTXEnd="on") }}
module(load="{module}" {tls_module})
input(type="{module}" port="{port}" address="127.0.0.1" ruleset="out")
"""


class Peer:
    """A program that writes what it receives into a file."""

    def __init__(self, argv, log, out, port, udp=False):
        self.argv, self.log, self.out, self.port, self.udp = argv, log, out, port, udp
        self.process = None

    def start(self):
        self.process = Guarded(self.argv, self.log)
        until(lambda: self.bound() if self.udp else answers(self.port), 20, lambda: f"{self.argv[0]}:\n{tail(self.log)}")
        return self

    def bound(self):
        with open("/proc/net/udp", encoding="ascii") as f:
            return f":{self.port:04X} " in f.read()

    def stop(self):
        self.process.release(keep_dir=True)

    def data(self):
        return self.out.read_bytes() if self.out.exists() else b""

    def lines(self):
        return self.data().split(b"\n")[:-1]


def socat(directory, listen):
    port, out, udp = free_port(), directory / "socat.out", listen.startswith("UDP")
    # fork: a probe for whether it listens is a connection, too
    options = "bind=127.0.0.1,reuseaddr" + ("" if udp else ",fork")
    return Peer(["/usr/bin/socat", "-u", f"{listen.format(port=port)},{options}", f"OPEN:{out},creat,append"],
                str(directory / "socat.log"), out, port, udp)


def rsyslog(directory, protocol, certificate=None):
    port, out = free_port(), directory / "rsyslog.out"
    tls_global = tls_module = ""
    if certificate:
        tls_global = (f'defaultNetstreamDriverCAFile="{certificate[2]}" defaultNetstreamDriverCertFile="{certificate[0]}" '
                      f'defaultNetstreamDriverKeyFile="{certificate[1]}"')
        tls_module = 'streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="anon"'
    config = directory / "rsyslog.conf"
    config.write_text(RSYSLOG.format(dir=directory, out=out, port=port, module="imudp" if protocol == "udp" else "imtcp",
                                     tls_global=tls_global, tls_module=tls_module), encoding="utf-8")
    return Peer(["/usr/sbin/rsyslogd", "-n", "-f", str(config), "-i", str(directory / "rsyslog.pid")],
                str(directory / "rsyslog.log"), out, port, udp=protocol == "udp")


def as_records(lines):
    """Lines of JSON in the form of Kafka's records, for Fleet.check."""
    return [{"key": re.search(rb'"sensor_id":(\d+)', line)[1], "payload": line, "partition": 0} for line in lines]


def objects(data):
    """The JSON objects in what a peer has so far, whatever frames them and wherever it stops."""
    text, at = data.decode(), 0
    while (at := text.find("{", at)) >= 0:
        try:
            end = json.JSONDecoder().raw_decode(text, at)[1]
        except json.JSONDecodeError:
            return
        yield text[at:end].encode()
        at = end
