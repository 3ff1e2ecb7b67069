"""Child processes that never outlive their parent."""

import ctypes
import os
import pwd
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path,
    death_signal: signal.Signals = signal.SIGKILL,
    user: pwd.struct_passwd | None = None,
    pass_fds: Sequence[int] = (),
    environment: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen:
    """Start `command` in a session of its own, its output appended to `log`.

    The kernel sends it `death_signal` when the *thread* that spawned it ends, so only a process's main thread may call
    this. A session of its own keeps a Ctrl-C in the terminal from it: its parent stops it, in order.
    """
    parent = os.getpid()

    def tie_to_parent() -> None:
        # after setuid, which would clear it
        libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=tie_to_parent,
            pass_fds=pass_fds,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            **({"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}),
        )


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
