"""Parquet made of rows that stream by: a child process writes it, because pyarrow is not for the web process."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from annotation.exports.flat import COLUMNS

CHILD = Path(__file__).with_name("parquet_child.py")
PIECE = 1 << 16


class NotWritten(RuntimeError):
    """The child has failed: what came out of it is no Parquet file."""


def parquet(rows: Iterator[bytes]) -> Iterator[bytes]:
    """The file in pieces, out of NDJSON with COLUMNS. Nothing piles up: what the pipes cannot hold waits."""
    child = subprocess.Popen(
        [sys.executable, "-I", str(CHILD), json.dumps(COLUMNS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"OMP_NUM_THREADS": "1", "PATH": os.environ.get("PATH", "")},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    into, out = child.stdin.fileno(), child.stdout.fileno()
    os.set_blocking(into, False)
    try:
        waiting, ended = memoryview(b""), False
        while True:
            if not waiting and not ended:
                piece = next(rows, None)
                if piece is None:
                    ended = True
                    child.stdin.close()
                else:
                    waiting = memoryview(piece)
                    continue
            readable, writable, _ = select.select([out], [into] if waiting else [], [])
            if readable:
                part = os.read(out, PIECE)
                if not part:
                    break
                yield part
            if writable:
                waiting = waiting[os.write(into, waiting[:PIECE]) :]
        if child.wait() != 0:
            raise NotWritten(f"The child that writes Parquet ended with {child.returncode}.")
    finally:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            try:
                pipe.close()
            except BrokenPipeError:
                pass
