# SPDX-License-Identifier: MIT
"""Publishes on the exchanges that the EDR server declares, by pika."""
import itertools
import threading
import time

import pika

from events import MARKER_SENSOR, marker, zip_of
from process import until


class Publisher:
    """One connection. All that was published has reached the broker when close() returns."""

    def __init__(self, rabbitmq, persistent=False, confirm=False):
        self.connection = rabbitmq.connect()
        self.channel = self.connection.channel()
        if confirm:
            self.channel.confirm_delivery()
        self.delivery_mode = 2 if persistent else 1

    def raw(self, body, headers=None, content_type="application/zip"):
        self.publish("api.rawsensordata", "", body, content_type, headers)

    def event(self, key, body, content_type="application/protobuf"):
        self.publish("api.events", key, body, content_type)

    def publish(self, exchange, key, body, content_type=None, headers=None, mandatory=False):
        self.channel.basic_publish(exchange, key, body, pika.BasicProperties(
            content_type=content_type, headers=headers, delivery_mode=self.delivery_mode, priority=0), mandatory=mandatory)

    def close(self):
        if self.connection.is_open:
            self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def publish_when_bound(rabbitmq, exchange, key, body, content_type, headers=None, timeout_s=30):
    """Publishes one message, again and again until there is a queue for it."""
    def routed():
        try:
            publisher.publish(exchange, key, body, content_type, headers, mandatory=True)
            return True
        except pika.exceptions.UnroutableError:
            return False

    with Publisher(rabbitmq, confirm=True) as publisher:
        until(routed, timeout_s, f"{exchange} to be bound to a queue", 0.1)


def queue_depth(rabbitmq, queue):
    """Messages ready in the queue; those that a consumer has not acknowledged are not among them."""
    connection = rabbitmq.connect()
    try:
        return connection.channel().queue_declare(queue, passive=True).method.message_count
    finally:
        connection.close()


def send_marker(tap, rabbitmq, pb):
    """Publishes a marker behind everything else in the queue. Returns what says, by a scrape, that it was received (and so
    was all before it, for a queue keeps its order, also over a redelivery) and that everything is settled."""
    def received(metrics):
        return metrics("cbtap_decode_events_total", type="tamper")

    before = received(tap.metrics())
    with Publisher(rabbitmq) as publisher:
        publisher.raw(marker(pb), {"sensorId": MARKER_SENSOR})
    return lambda metrics: received(metrics) > before and metrics.at_rest()


def wait_drained(tap, rabbitmq, pb):
    """Waits until all that was published has gone through; asserts the balance; returns the next scrape, as wait_rest."""
    tap.wait(send_marker(tap, rabbitmq, pb), what="all that was published to go through").assert_balance_at_rest()
    return tap.metrics()


class Load(threading.Thread):
    """Publishes bundles of a fleet on api.rawsensordata in the background, every other one zipped, at a steady rate that
    does not wait for cbtap; so many messages, made beforehand, or until finish() where no number is given."""

    def __init__(self, rabbitmq, fleet, events_each, per_second, messages=None, persistent=False):
        super().__init__(daemon=True)
        self.publisher = Publisher(rabbitmq, persistent)
        self.fleet, self.events_each, self.per_second = fleet, events_each, per_second
        self.error = None
        self.enough = threading.Event()
        self.messages = None if messages is None else [self.message(number) for number in range(messages)]

    def message(self, number):
        sensor = self.fleet.sensors[number % len(self.fleet.sensors)]
        bundle = self.fleet.bundle(sensor, self.events_each)
        return sensor, zip_of(bundle) if number % 2 else bundle

    def run(self):
        try:
            start = time.monotonic()
            for number, (sensor, body) in enumerate(self.messages or map(self.message, itertools.count())):
                self.publisher.raw(body, {"sensorId": sensor, "sensorHostName": f"host-{sensor}"})
                late = start + (number + 1) / self.per_second - time.monotonic()
                if late > 0.001:
                    self.publisher.connection.sleep(late)
                if self.enough.is_set():
                    break
            self.publisher.close()
        except Exception as e:  # pylint: disable=broad-except
            self.error = e

    def finish(self):
        """Waits until all is published, or ends the endless one."""
        if self.messages is None:
            assert self.is_alive(), f"the load failed: {self.error!r}"
            self.enough.set()
        self.join(300)
        assert not self.is_alive() and self.error is None, f"the load failed: {self.error!r}"
