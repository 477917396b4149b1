# SPDX-License-Identifier: MIT
"""A real RabbitMQ for tests, with its own port mapper (epmd), so that it meets no other on the machine."""
import glob
import os
import subprocess

import pika

from process import Guarded, Service, ServiceError, answers, free_port, until


class RabbitMQ(Service):
    name = "rabbitmq"
    start_timeout_s = 90

    def __init__(self, log_dir=None, plugins=(), **settings):
        super().__init__(log_dir)
        self.settings = settings
        self.plugins = plugins
        self.epmd = None

    def _path(self, *names):
        return os.path.join(self.dir, *names)

    def prepare(self):
        scripts = sorted(glob.glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server"))
        if not scripts:
            raise ServiceError("RabbitMQ is not installed: run tools/bootstrap.sh")
        self.script = scripts[-1]
        self.port, self.dist_port, self.epmd_port = free_port(), free_port(), free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"
        for name in ("mnesia", "log", "home"):
            os.mkdir(self._path(name))
        self.configure()
        with open(self._path("enabled_plugins"), "w", encoding="utf-8") as f:
            f.write(f"[{','.join(self.plugins)}].\n")

    def configure(self, **changes):
        """Writes the configuration with these settings changed, for the next start."""
        self.settings |= changes
        settings = {
            "listeners.tcp.1": f"127.0.0.1:{self.port}",
            "log.console": "true", "log.console.level": "info", "log.file": "false",
            "disk_free_limit.absolute": "100MB", "vm_memory_high_watermark.absolute": "2GB",
        } | self.settings
        with open(self._path("rabbitmq.conf"), "w", encoding="utf-8") as f:
            f.writelines(f"{key} = {value}\n" for key, value in settings.items())

    def argv(self):
        return [self.script]

    def env(self):
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": self._path("home"),
            # Makes the script hand its process over to the Erlang machine, so that signals and exit status are its own.
            "RUNNING_UNDER_SYSTEMD": "true", "RABBITMQ_SERVER_START_ARGS": "-noinput",
            "ERL_EPMD_PORT": str(self.epmd_port), "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"cbtap{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1", "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null", "RABBITMQ_CONFIG_FILE": self._path("rabbitmq"),
            "RABBITMQ_CONFIG_FILES": self._path("none.d"), "RABBITMQ_ADVANCED_CONFIG_FILE": self._path("none"),
            "RABBITMQ_GENERATED_CONFIG_DIR": self._path("generated"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": self._path("enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": self._path("mnesia"), "RABBITMQ_LOG_BASE": self._path("log"),
        }

    def start(self):
        if not self.prepared:
            self.prepare()
            self.prepared = True
        if self.epmd is None:
            # -relaxed_command_check: what dies without a word must not keep its name.
            self.epmd = Guarded(["epmd", "-address", "127.0.0.1", "-port", str(self.epmd_port), "-relaxed_command_check"],
                                self.log)
            until(lambda: answers(self.epmd_port), 20, "epmd")
        return super().start()

    def close(self):
        super().close()
        if self.epmd:
            self.epmd.release(keep_dir=True)
            self.epmd = None

    def connect(self):
        parameters = pika.URLParameters(self.url)
        parameters.socket_timeout = 10
        parameters.heartbeat = 0  # a test that looks elsewhere for minutes does not serve its connection
        return pika.BlockingConnection(parameters)

    def check(self):
        if not answers(self.port):
            return False
        try:
            self.connect().close()
            return True
        except (pika.exceptions.AMQPError, OSError):
            return False

    def ctl(self, *args):
        """rabbitmqctl: what an operator does to the running server. Returns what it printed."""
        env = {key: value for key, value in self.env().items() if not key.startswith(("RUNNING_", "RABBITMQ_SERVER_"))}
        done = subprocess.run([os.path.join(os.path.dirname(self.script), "rabbitmqctl"), "-q", *map(str, args)], env=env,
                              capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise ServiceError(f"rabbitmqctl {args}: {done.stdout}{done.stderr}")
        return done.stdout

    def declare_exchanges(self):
        """The two exchanges that the EDR server declares."""
        connection = self.connect()
        channel = connection.channel()
        channel.exchange_declare("api.events", exchange_type="topic", durable=True)
        channel.exchange_declare("api.rawsensordata", exchange_type="fanout", durable=True)
        connection.close()

    def variables(self):
        return {"AMQP_URL": self.url, "AMQP_PORT": str(self.port)}
