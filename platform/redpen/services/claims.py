"""What only one supervisor may hold: the data folder and its ports. Who comes second is told who came first."""

import errno
import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import IO

import psutil


class Taken(Exception):
    """Somebody else holds it; the message says who, and what to do."""


def claim_data_folder(data_dir: Path, *, port: int) -> IO[str]:
    """Hold the data folder until the returned file is closed or this process ends, however it ends."""
    lock = (data_dir / "redpen.lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Taken(f"The data folder {data_dir} is in use by {_holder_named_in(lock)}") from None
    lock.seek(0)
    lock.truncate()
    json.dump({"pid": os.getpid(), "port": port}, lock)
    lock.flush()
    return lock


def _holder_named_in(lock: IO[str]) -> str:
    lock.seek(0)
    try:
        holder = json.load(lock)
        pid, port = holder["pid"], holder["port"]
    except (ValueError, KeyError):
        return "another Redpen. Stop that one, or set DATA_DIR to another folder."
    return (
        f"the Redpen that runs as process {pid} on port {port}. "
        f"Stop it (Ctrl-C there, or `kill {pid}`), or set DATA_DIR and PORT to start another beside it."
    )


def claim_port(host: str, port: int, *, setting: str, patience: float = 2) -> socket.socket:
    """A listening socket. The web process gets it from us, so a restart of that process refuses no connection."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    deadline = time.monotonic() + patience  # the children of a supervisor that was just killed are still going
    while True:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(1024)
            return listener
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRINUSE:
                if time.monotonic() < deadline:
                    time.sleep(0.1)
                    continue
                raise Taken(f"Port {port} is taken by {_listener_on(port)}. Set {setting} to another.") from None
            raise Taken(f"Cannot listen on {host}:{port}: {error.strerror}. Change HOST or {setting}.") from None


def _listener_on(port: int) -> str:
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                command = " ".join(psutil.Process(connection.pid).cmdline())
                return f"process {connection.pid} ({command[:100]})"
    except psutil.Error:
        pass
    return "another program (of another user, so its number is hidden)"
