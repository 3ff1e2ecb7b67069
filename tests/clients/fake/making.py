"""What the tests over the fake server share: clients that try again quickly, and small programs that end."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import redpen_client
from redpen_client import Client

KEY = "rp_test_abcdefgh_secret"
ASKED = [{"role": "user", "content": "How long do lamps last?"}]
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def made(server, **options):
    return Client(server.url, KEY, **{"flush_interval": 0.02, "close_timeout": 5, **options})


def adds_up(stats):
    return stats.accepted == stats.stored + stats.repeated + stats.refused + stats.dropped + stats.waiting


def run(code, server, *arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(Path(redpen_client.__file__).parents[1])}
    command = [sys.executable, "-c", code, server.url, KEY, *arguments]
    return subprocess.Popen(command, env=environment, cwd="/", stderr=subprocess.PIPE, text=True, **options)


def ended(process, code=0):
    said = process.communicate(timeout=30)[1]
    assert process.returncode == code, said
    return said


START = (
    "import sys; from redpen_client import Client, AsyncClient; client = Client(*sys.argv[1:3], flush_interval=60)\n"
)
