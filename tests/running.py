"""A real `manage.py up` in a data folder of its own, for the tests that start and kill real processes."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).resolve().parent.parent
# what each service's command line contains, and no other's
MARKS = {
    "postgres": "pginstall/bin/postgres",
    "redis": "redis-server",
    "web": "redpen.services.web",
    "worker-default": "default@%h",
    "worker-train": "train@%h",
    "scheduler": "celery.beat",
    "model-server": "training.serve",
}


class Running:
    """One supervisor. Settings go in as environment variables."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        self.data_dir = data_dir
        self.port = settings.pop("PORT", None) or str(free_port())
        self.settings = {
            "DATA_DIR": str(data_dir),
            "PORT": self.port,
            "MODEL_SERVER_PORT": str(free_port()),
            "DEMO": "false",
            "DJANGO_SETTINGS_MODULE": "redpen.settings",
            **settings,
        }
        self.output_file = data_dir.with_name(f"{data_dir.name}.out")
        self.process: subprocess.Popen | None = None
        self._seen: dict[int, psutil.Process] = {}

    def start(self) -> "Running":
        output = self.output_file.open("w")
        command = [sys.executable, REPOSITORY / "manage.py", "up"]
        environment = {**clean_environment(), **self.settings}
        self.process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=REPOSITORY, start_new_session=True
        )
        return self

    def start_and_wait(self, seconds: float = 120) -> "Running":
        self.start()
        wait_for(lambda: "Redpen is ready" in self.output() or self.process.poll() is not None, seconds, self.output)
        assert self.process.poll() is None, self.output()
        self.remember()
        return self

    def output(self) -> str:
        return self.output_file.read_text()

    def remember(self) -> None:
        """Note every process that hangs below the supervisor now, so that none of them can go missing unseen."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            self._seen[process.pid] = process

    def left(self) -> list[str]:
        """Command lines of remembered processes that still run, and of any that works in our data folder."""
        running = [process for process in self._seen.values() if process.is_running()]
        running += [process for process in psutil.process_iter() if belongs_to(process, self.data_dir)]
        lines = []
        for process in running:
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE:
                    lines.append(f"{process.pid} {' '.join(process.cmdline())[:120]}")
        return lines

    def child(self, service: str) -> psutil.Process | None:
        """The process of a service, or None while it is away."""
        for process in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                if MARKS[service] in " ".join(process.cmdline()):
                    return process
        return None

    def kill(self, service: str) -> int:
        """kill -9 a service; return its pid."""
        self.remember()
        process = self.child(service)
        assert process is not None, f"{service} does not run\n{self.output()}"
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        return process.pid

    def stop(self, sign: signal.Signals = signal.SIGINT, seconds: float = 60) -> int:
        self.remember()
        self.process.send_signal(sign)
        return self.process.wait(seconds)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            try:
                self.stop(signal.SIGTERM, 40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process is not None:
            with contextlib.suppress(AssertionError):
                wait_for(lambda: not self.left(), 10)
        shutil.rmtree(self.data_dir, ignore_errors=True)
        self.output_file.unlink(missing_ok=True)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.url(path), timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def ready(self) -> bool:
        status, body = self.get("/readyz")
        return status == 200 and json.loads(body)["ready"]

    def manage(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, REPOSITORY / "manage.py", *arguments],
            capture_output=True,
            text=True,
            env={**clean_environment(), **self.settings},
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextlib.contextmanager
def running(**settings: str) -> Iterator[Running]:
    """A supervisor that is not started yet; ended, with its data, when the block ends."""
    one = Running(Path(tempfile.mkdtemp(prefix="redpen-up-")), **settings)
    try:
        yield one
    finally:
        one.end()


def clean_environment() -> dict[str, str]:
    """Without what the tests' own settings have put into ours."""
    ours = {"DATA_DIR", "PORT", "DATABASE_URL", "REDIS_URL", "SECRET_KEY", "DEBUG", "BASE_MODEL", "MODEL_SERVER_URL"}
    return {name: value for name, value in os.environ.items() if name not in ours}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def belongs_to(process: psutil.Process, data_dir: Path) -> bool:
    try:
        return process.cwd().startswith(str(data_dir)) or str(data_dir) in " ".join(process.cmdline())
    except psutil.Error:
        return False


def wait_for(condition: Callable[[], object], seconds: float, explain: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {explain()}"
        time.sleep(0.1)
