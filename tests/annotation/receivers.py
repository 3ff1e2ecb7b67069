"""Receivers of webhooks: real servers on the loopback address, well-behaved and hostile."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FOREIGN = "ALL YOUR SECRETS ARE OURS"  # what a receiver says must not come up anywhere


@dataclass
class Got:
    headers: dict[str, str]
    body: bytes
    path: str
    at: float = field(default_factory=time.monotonic)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """`status` is what it answers; `got` what it was sent."""

    url: str = ""
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    pause: float = 0.0
    got: list[Got] = field(default_factory=list)
    port: int = 0


@contextlib.contextmanager
def receiver(port: int = 0) -> Iterator[Receiver]:
    state = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.got.append(Got({name.lower(): value for name, value in self.headers.items()}, body, self.path))
            time.sleep(state.pause)
            said = b"" if state.status == 204 else FOREIGN.encode()
            with contextlib.suppress(OSError):
                self.send_response(state.status)
                for name, value in state.headers.items():
                    self.send_header(name, value)
                if state.status != 204:
                    self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *args: object) -> None:
            pass

    server = Server(("127.0.0.1", port), Handler)
    state.port = server.server_address[1]
    state.url = f"http://127.0.0.1:{state.port}/hook"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def hostile(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that reads the request's beginning and then does what `behave` does. Gives its URL."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=64)
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listening.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            behave(connection)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        over.set()
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def endless_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = FOREIGN.encode() * 400
    while True:
        connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))


def huge_length(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 10737418240\r\n\r\n" + FOREIGN.encode())
    time.sleep(60)


def one_byte_a_second(connection: socket.socket) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 60 + b"\r\n\r\n":
        connection.sendall(bytes([byte]))
        time.sleep(1)


def endless_headers(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-More: " + FOREIGN.encode() * 10 + b"\r\n")


def late_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    time.sleep(30)


def nonsense(connection: socket.socket) -> None:
    connection.sendall(b"220 smtp.example ESMTP " + FOREIGN.encode() + b"\r\n")


def hangs_up(connection: socket.socket) -> None:
    connection.close()
