"""A small server that keeps the contract of the intake, and can be killed, come back, or misbehave on purpose."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeServer:
    """`stored` is what was acknowledged or might have been, in order; `requests` what came.

    `behave(request)` may return (status, headers, body) in place of the honest answer, or "cut" to store the items and
    close the connection without a reply.
    """

    def __init__(self, port: int = 0) -> None:
        self.stored: dict[str, dict[str, Any]] = {}
        self.requests: list[dict[str, Any]] = []
        self.withdrawn: list[str] = []
        self.behave: Callable[[dict[str, Any]], Any] = lambda request: None
        self.judge: Callable[[dict[str, Any]], Any] = lambda item: None
        self.lock = threading.Lock()
        self.port = port
        self.server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> FakeServer:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None: ...

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                outer.answer(self, json.loads(body) if body else None)

            def do_DELETE(self) -> None:
                outer.answer(self, None)

            do_GET = do_DELETE

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *_: Any) -> None: ...  # a connection that was cut

        self.server = Server(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        self.connections: list[Any] = []
        accept = self.server.get_request

        def get_request() -> Any:
            found = accept()
            self.connections.append(found[0])
            return found

        self.server.get_request = get_request
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def stop(self) -> None:
        """As a kill would: connections too."""
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            for connection in self.connections:
                connection.close()
            self.server = None

    def answer(self, handler: BaseHTTPRequestHandler, items: Any) -> None:
        request = {"method": handler.command, "path": handler.path, "headers": dict(handler.headers), "items": items}
        with self.lock:
            self.requests.append(request)
            said = self.behave(request)
            if said is None or said == "cut":
                honest = self.store(request)
        if said == "cut":
            handler.close_connection = True
            handler.connection.close()
            return
        status, headers, body = said or honest
        told = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers, "Content-Length": str(len(told))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(told)

    def store(self, request: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        if request["method"] == "DELETE":
            self.withdrawn.append(request["path"].rpartition("/")[2])
            return 200, {}, {"status": "retracted", "id": request["path"].rpartition("/")[2]}
        results = []
        for item in request["items"]:
            judged = self.judge(item)
            if judged is not None:
                results.append(judged)
                continue
            name = item.get("id") or "/".join(str(item.get(key)) for key in ("response", "user", "kind", "at"))
            results.append({"status": "repeated" if name in self.stored else "stored", "id": name})
            self.stored.setdefault(name, item)
        counts = {status: sum(one["status"] == status for one in results) for status in ("stored", "repeated")}
        counts |= {status: sum(one["status"] == status for one in results) for status in ("refused", "retry")}
        whole = counts["refused"] + counts["retry"] == 0
        return (200 if whole else 207), {}, {**counts, "results": results}


def problem(status: int, code: str, detail: str = "No.", **headers: str) -> tuple[int, dict[str, str], Any]:
    return (
        status,
        {k.replace("_", "-"): v for k, v in headers.items()},
        {"title": "No", "status": status, "code": code, "detail": detail, "problems": []},
    )
