"""Short runs without the long start: a process that has loaded torch once and forks for every run.

A bench has a hundred runs of a few seconds each, and loading the libraries takes as long as such a run. The worker
still starts a process of its own for each run (this file as a script), by which it stops and kills it as ever; that
process only hands its input and output to the nursery, which forks a child that trains, and stands in for it: it passes
SIGTERM on and ends as the child ends. When it is killed, the nursery kills the child; when the nursery dies, the kernel
does. The script imports nothing of ours, so that it starts at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
from typing import Any

PASSED_ON = ("REDPEN_RUN", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "TOKENIZERS_PARALLELISM")
LOST = 70  # exit status of a run whose nursery is gone


def main(arguments: list[str]) -> int:
    """`nursery.py serve SOCKET` is the nursery; `nursery.py SOCKET RUN_DIR` stands in for a run."""
    if arguments[0] == "serve":
        return serve(arguments[1])
    return stand_in(*arguments)


# --- the process that the worker sees


def stand_in(path: str, run_dir: str) -> int:
    """Have the run done, and end as it ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.connect(path)
        signal.signal(signal.SIGTERM, lambda *_: line.send(b"T"))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        order = {
            "run_dir": run_dir,
            "environment": {name: os.environ[name] for name in PASSED_ON if name in os.environ},
        }
        socket.send_fds(line, [json.dumps(order).encode() + b"\n"], [0, 1, 2])
        told = line.recv(16)
    return int(told) if told else LOST


# --- the nursery


def serve(path: str) -> int:
    """Load, then fork for whoever asks, until the standard input ends."""
    die_with_the_parent()
    load()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    children: dict[int, socket.socket] = {}
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends with its worker, which stops its runs first
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.bind(path)
        door.listen()
        while True:
            lines = {line.fileno(): pid for pid, line in children.items()}
            ready = select.select([0, door, woken, *lines], [], [])[0]
            if woken in ready:
                os.read(woken, 4096)
                bury(children)
            if door in ready:
                line = door.accept()[0]
                if (pid := bear(line, door)) is not None:
                    children[pid] = line
            for number in ready:
                if number in lines and lines[number] in children:
                    pid = lines[number]
                    heard = children[pid].recv(16)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGTERM if heard else signal.SIGKILL)
            if 0 in ready and not os.read(0, 1024):
                for pid in children:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                return 0


def load() -> None:
    """What every run needs. Nothing is computed here: a fork would lose the threads of it."""
    import peft  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM  # noqa: F401

    import training.launch
    from training import engine
    from training.recipes import registry

    for part in ("policy", "rollouts", "loop", "packs", "logprobs", "objectives", "credit", "scoring", "checkpoints"):
        getattr(engine, part)
    assert registry.RECIPES
    assert training.launch


def bear(line: socket.socket, door: socket.socket) -> int | None:
    """A child for the run that is asked for on this line; None where nobody asked."""
    message, given = receive(line)
    if len(given) != 3:
        line.close()
        return None
    order = json.loads(message.partition(b"\n")[0])
    pid = os.fork()
    if pid:
        for number in given:
            os.close(number)
        return pid
    status = LOST
    try:
        os.setsid()
        die_with_the_parent()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for target, number in enumerate(given):
            os.dup2(number, target)
            os.close(number)
        door.close()
        line.close()
        os.environ.update(order["environment"])
        from training import launch

        status = launch.main([order["run_dir"]])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def receive(line: socket.socket) -> tuple[bytes, list[int]]:
    """A message and the file descriptors that came with it."""
    message, given, _, _ = socket.recv_fds(line, 65536, 3)
    return message, list(given)


def bury(children: dict[int, Any]) -> None:
    """Tell those who stand in for them how they ended."""
    while True:
        try:
            pid, ended = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        if (line := children.pop(pid, None)) is not None:
            code = os.waitstatus_to_exitcode(ended)
            with contextlib.suppress(OSError):
                line.send(str(code if code >= 0 else 128 - code).encode())
            line.close()


def die_with_the_parent() -> None:
    """The kernel ends this process when the one that started it ends."""
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))
