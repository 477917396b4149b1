# SPDX-License-Identifier: MIT
"""A real Redis for tests."""
import os

import redis

from process import Service, free_port


class Redis(Service):
    name = "redis"
    host = "127.0.0.1"

    def __init__(self, log_dir=None, password=None, **settings):
        super().__init__(log_dir)
        self.password = password
        self.settings = settings

    def prepare(self):
        self.port = free_port()
        lines = [f"port {self.port}", "bind 127.0.0.1", f"dir {self.dir}", 'save ""', "appendonly no", "daemonize no"]
        if self.password:
            lines.append(f"requirepass {self.password}")
        lines += [f"{key.replace('_', '-')} {value}" for key, value in self.settings.items()]
        with open(os.path.join(self.dir, "redis.conf"), "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")

    def argv(self):
        return ["redis-server", os.path.join(self.dir, "redis.conf")]

    def client(self):
        return redis.Redis(self.host, self.port, password=self.password, socket_timeout=10)

    def check(self):
        try:
            with self.client() as client:
                return client.ping()
        except redis.exceptions.ConnectionError:
            return False

    def subscribers(self, pattern_of=None):
        """How many pattern subscriptions there are (Redis does not say to which pattern)."""
        with self.client() as client:
            return client.execute_command("PUBSUB", "NUMPAT")

    def variables(self):
        return {"REDIS_HOST": self.host, "REDIS_PORT": str(self.port)}
