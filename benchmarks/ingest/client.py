"""The client that replays prepared requests: compiled C where there is a compiler, else Python in its own process."""

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("client.c")
REPLAY = Path(__file__).with_name("replay.py")


@dataclass(frozen=True)
class Replayed:
    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    statuses: dict[str, int]


class Client:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler:
            program = folder / "client"
            subprocess.run([compiler, "-O2", "-D_GNU_SOURCE", "-o", program, SOURCE], check=True)
            self.command, self.words = [str(program)], "the client is C"
        else:
            self.command, self.words = [sys.executable, str(REPLAY)], "the client is Python (no C compiler): slower"

    def write(self, name: str, requests: Iterable[tuple[str, bytes]], headers: dict[str, str] | None = None) -> Path:
        """A file of POSTs of (path, body)."""
        lines = {"Host": "127.0.0.1", "Content-Type": "application/json", **(headers or {})}
        head = "".join(f"{key}: {value}\r\n" for key, value in lines.items())
        path = self.folder / name
        with path.open("wb") as file:
            for target, body in requests:
                start = f"POST {target} HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode()
                file.write(struct.pack("<I", len(start) + len(body)) + start + body)
        return path

    def replay(self, file: Path, port: int, *, connections: int, seconds: float, accept: set[str]) -> Replayed:
        """Send what the file holds for so many seconds. Exits when an answer has a status that is not accepted."""
        command = [*self.command, str(port), str(connections), str(seconds), str(file)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"The client failed: {done.stderr.strip()}")
        found = Replayed(**json.loads(done.stdout.splitlines()[-1]))
        if set(found.statuses) - accept:
            raise SystemExit(f"Answers that were not expected: {found.statuses}\n{done.stderr.strip()}")
        return found
