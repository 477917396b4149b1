# SPDX-License-Identifier: MIT
"""A TCP proxy that a test may drop, cut without a word, or slow down."""
import socket
import threading
import time

CHUNK_BYTES = 16 << 10


class Connection:
    """One client and its server; bytes go both ways until either ends or it is cut."""

    def __init__(self, proxy, client, server):
        self.proxy, self.ends = proxy, (client, server)
        self.cut = threading.Event()

    def start(self):
        client, server = self.ends
        for source, target in ((client, server), (server, client)):
            threading.Thread(target=self.pump, args=(source, target), daemon=True).start()

    def pump(self, source, target):
        try:
            while data := source.recv(CHUNK_BYTES):
                if self.cut.is_set():
                    return  # both ends stay open, and hear nothing more
                if self.proxy.bytes_per_second:
                    time.sleep(len(data) / self.proxy.bytes_per_second)
                target.sendall(data)
        except OSError:
            pass
        if not self.cut.is_set():
            self.close()

    def close(self):
        for end in self.ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Proxy:
    """Listens on a port of its own and connects to the server's."""

    def __init__(self, server_port, bytes_per_second=0):
        self.server_port, self.bytes_per_second = server_port, bytes_per_second
        self.connections = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.server_port))
            except OSError:
                client.close()
                continue
            connection = Connection(self, client, server)
            self.connections.append(connection)  # before a byte has gone through, so that cut() and drop() know it
            connection.start()

    def cut(self):
        """From now on the connections that there are carry nothing, and nobody is told. New ones work."""
        for connection in self.connections:
            connection.cut.set()

    def drop(self):
        """Ends the connections that there are, for both sides to see."""
        connections, self.connections = self.connections, []
        for connection in connections:
            connection.close()

    def close(self):
        self.listener.close()
        self.drop()
