"""Child processes that never outlive their parent."""

import ctypes
import os
import pwd
import signal
import subprocess
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import psutil

PR_SET_PDEATHSIG = 1
LOG_ROTATES_AT = 20_000_000  # bytes, looked at when a process starts
libc = ctypes.CDLL(None, use_errno=True)


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path | None,
    death_signal: signal.Signals = signal.SIGKILL,
    user: pwd.struct_passwd | None = None,
    pass_fds: Sequence[int] = (),
    environment: dict[str, str] | None = None,
    cwd: Path | None = None,
    niceness: int = 0,
) -> subprocess.Popen:
    """Start `command` in a session of its own, its output appended to `log` (None: to our own output).

    The kernel sends it `death_signal` when the *thread* that spawned it ends, so only a process's main thread may call
    this. A session of its own keeps a Ctrl-C in the terminal from it: its parent stops it, in order.
    """
    parent = os.getpid()

    def tie_to_parent() -> None:  # runs in the child, after setuid, which would have undone it
        libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        if niceness:
            os.nice(niceness)

    with _open_log(log) if log else nullcontext() as output:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if log else None,
            start_new_session=True,
            preexec_fn=tie_to_parent,
            pass_fds=pass_fds,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            **({"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}),
        )


def _open_log(log: Path):
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_ROTATES_AT:
        log.replace(log.with_suffix(".log.1"))
    return log.open("ab")


def stop(process: subprocess.Popen, *, sign: signal.Signals = signal.SIGTERM, seconds: float = 10) -> None:
    """Ask politely, wait, then kill."""
    if process.poll() is not None:
        return
    process.send_signal(sign)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tail(log: Path, lines: int = 15) -> str:
    """The end of a log, for the person who must see why something would not start."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def end_leftovers(name: str, folder: Path) -> None:
    """End what an earlier life of ours left running in `folder`: programs called `name` whose working directory it is.

    The caller holds the data folder's lock, so nobody else's server can be meant.
    """
    leftovers = [process for process in psutil.process_iter(["name"]) if process.info["name"] == name]
    leftovers = [process for process in leftovers if _works_in(process, folder.resolve())]
    for sign, seconds in ((signal.SIGINT, 5), (signal.SIGQUIT, 3), (signal.SIGKILL, 3)):
        for process in leftovers:
            try:
                process.send_signal(sign)
            except psutil.NoSuchProcess:
                pass
        _, leftovers = psutil.wait_procs(leftovers, timeout=seconds)
        if not leftovers:
            return


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.cwd() == str(folder)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
