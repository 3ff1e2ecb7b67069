"""Arize Phoenix and MLflow as running servers with 20,000 traces, and the requests that give one a user's reaction.

Both keep their data in a Postgres of the same kind and settings as ours (fsync on). Their SQLite was tried too: Phoenix
opens it with `PRAGMA synchronous = OFF`, so its answers are not durable there; MLflow wrote 4 reactions a second to it.
"""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.peers.environment import environment
from tests.running import clean_environment, free_port

RESPONSES = 20_000
STARTS_WITHIN = 180


class Peer:
    """One server process. `prepare` gives it traces; `single` and `batch` make requests."""

    name = ""
    packages: tuple[str, ...] = ()
    batches = False
    table = ""

    def __init__(self, folder: Path, database: str, **options: Any) -> None:
        self.folder, self.database, self.options = folder, database, options
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.folder.mkdir(parents=True, exist_ok=True)
        self.bin, self.install_seconds = environment(self.name, self.packages)

    def command(self) -> list[str]:
        raise NotImplementedError

    def settings(self) -> dict[str, str]:
        return {}

    def health(self) -> str:
        raise NotImplementedError

    def start(self) -> None:
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**clean_environment(), **self.settings()},
                start_new_session=True,
            )
        deadline = time.monotonic() + STARTS_WITHIN
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{self.health()}", timeout=5):
                    return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    log_text = (self.folder / "log").read_text()[-3000:]
                    raise SystemExit(f"{self.name} did not start:\n{log_text}") from None
                time.sleep(0.3)

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def call(self, path: str, body: Any) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{self.name}: {path} gave {error.code}: {error.read()[:500]!r}") from None

    def count(self) -> int:
        """How many reactions its database holds."""
        with psycopg.connect(self.database) as connection:
            found = connection.execute(f"SELECT count(*) FROM {self.table}").fetchone()
        assert found is not None
        return int(found[0])

    def prepare(self) -> None:
        raise NotImplementedError

    def single(self, numbers: Iterator[int]) -> tuple[str, bytes]:
        raise NotImplementedError

    def batch(self, numbers: Iterator[int], items: int) -> tuple[str, bytes]:
        raise NotImplementedError


class Phoenix(Peer):
    """`sync=true`: otherwise Phoenix answers before anything is written."""

    name = "phoenix"
    packages = ("arize-phoenix", "asyncpg")
    batches = True
    table = "span_annotations"

    def command(self) -> list[str]:
        return [str(self.bin / "phoenix"), "serve"]

    def settings(self) -> dict[str, str]:
        return {
            "PHOENIX_WORKING_DIR": str(self.folder),
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(self.port),
            "PHOENIX_GRPC_PORT": str(free_port()),
            "PHOENIX_SQL_DATABASE_URL": self.options.get("url") or for_sqlalchemy(self.database),
            "PHOENIX_TELEMETRY_ENABLED": "false",
            "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
            "PHOENIX_DISABLE_AGENT_ASSISTANT": "true",
        }

    def health(self) -> str:
        return "/healthz"

    def prepare(self) -> None:
        """One trace through the API; the others are copies of its rows, because Phoenix takes minutes for 20,000."""
        span = {
            "name": "answer",
            "context": {"trace_id": f"{1:032x}", "span_id": f"{1:016x}"},
            "span_kind": "LLM",
            "start_time": "2026-11-29T03:00:00Z",
            "end_time": "2026-11-29T03:00:01Z",
            "status_code": "OK",
            "attributes": {"input.value": "What is it?", "output.value": "A number."},
        }
        self.call("/v1/projects/default/spans", {"data": [span]})
        deadline = time.monotonic() + 60
        with psycopg.connect(self.database, autocommit=True) as connection:
            while connection.execute("SELECT count(*) FROM spans").fetchone() != (1,):  # written after the answer
                if time.monotonic() > deadline:
                    raise SystemExit("Phoenix did not write its span within a minute.")
                time.sleep(0.2)
            more = f"generate_series(2, {RESPONSES}) n"
            copy_rows(connection, "traces", {"trace_id": "lpad(to_hex(n), 32, '0')"}, more)
            of_trace = "JOIN traces t ON t.trace_id = lpad(to_hex(n), 32, '0')"
            copy_rows(
                connection,
                "spans",
                {"span_id": "lpad(to_hex(n), 16, '0')", "trace_rowid": "t.id"},
                f"{more} {of_trace}",
            )
            connection.execute("ANALYZE")

    def _one(self, number: int) -> dict[str, Any]:
        return {
            "span_id": f"{number % RESPONSES + 1:016x}",
            "name": "like",
            "annotator_kind": "HUMAN",
            "result": {"label": "like", "score": 1},
            "metadata": {"user": f"user-{number % 5003}", "at": "2026-11-29T03:00:00Z"},
            "identifier": f"event-{number:08d}",
        }

    def single(self, numbers: Iterator[int]) -> tuple[str, bytes]:
        return self.batch(numbers, 1)

    def batch(self, numbers: Iterator[int], items: int) -> tuple[str, bytes]:
        return "/v1/span_annotations?sync=true", encoded({"data": [self._one(next(numbers)) for _ in range(items)]})


class MLflow(Peer):
    """One assessment a request: there is no batch of them."""

    name = "mlflow"
    packages = ("mlflow", "psycopg2-binary")
    table = "assessments"

    def command(self) -> list[str]:
        store = self.options.get("url") or for_sqlalchemy(self.database, "+psycopg2")
        return [
            *(str(self.bin / "mlflow"), "server", "--backend-store-uri", store),
            *("--host", "127.0.0.1", "--port", str(self.port), "--workers", str(self.options.get("workers", 4))),
        ]

    def settings(self) -> dict[str, str]:
        return {"PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", "MLFLOW_DISABLE_TELEMETRY": "true"}

    def health(self) -> str:
        return "/health"

    def prepare(self) -> None:
        """One trace through the API; the others are copies of its row, because 20,000 calls would take minutes."""
        info = {
            "trace_id": trace_id(0),
            "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}},
            "request_preview": "What is it?",
            "response_preview": "A number.",
            "request_time": "2026-11-29T03:00:00Z",
            "execution_duration": "1s",
            "state": "OK",
        }
        self.call("/api/3.0/mlflow/traces", {"trace": {"trace_info": info}})
        with psycopg.connect(self.database, autocommit=True) as connection:
            names = {"request_id": "'tr-' || lpad(to_hex(n), 32, '0')"}
            copy_rows(connection, "trace_info", names, f"generate_series(1, {RESPONSES - 1}) n")
            connection.execute("ANALYZE")

    def single(self, numbers: Iterator[int]) -> tuple[str, bytes]:
        number = next(numbers)
        trace = trace_id(number % RESPONSES)
        assessment = {
            "trace_id": trace,
            "assessment_name": "like",
            "source": {"source_type": "HUMAN", "source_id": f"user-{number % 5003}"},
            "create_time": "2026-11-29T03:00:00Z",
            "last_update_time": "2026-11-29T03:00:00Z",
            "feedback": {"value": True},
            "metadata": {"event": f"event-{number:08d}"},
        }
        return f"/api/3.0/mlflow/traces/{trace}/assessments", encoded({"assessment": assessment})


def copy_rows(connection: psycopg.Connection, table: str, changed: dict[str, str], more: str) -> None:
    """The one row of `table` once for each of `more`, with some columns changed and a new id of the sequence."""
    found = connection.execute(f"SELECT o.* FROM {table} o LIMIT 0")  # type: ignore[arg-type]
    names = [column.name for column in found.description or [] if column.name != "id"]
    values = ", ".join(changed.get(name, f"o.{name}") for name in names)
    connection.execute(f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table} o CROSS JOIN {more}")  # type: ignore[arg-type]


def trace_id(number: int) -> str:
    return f"tr-{number:032x}"


def encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def for_sqlalchemy(url: str, driver: str = "") -> str:
    """A URL with the socket's folder as host, as SQLAlchemy wants it."""
    about = psycopg.conninfo.conninfo_to_dict(url)
    return f"postgresql{driver}://{about['user']}@/{about['dbname']}?host={about['host']}"


PEERS = {peer.name: peer for peer in (Phoenix, MLflow)}
