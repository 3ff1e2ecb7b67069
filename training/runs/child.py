"""The child process of a run: started through accelerate, stopped with all that it started, never left behind.

Four things hold it: a process group of its own, a mark in its environment that its descendants inherit, a death signal
from the kernel when the worker's thread ends, and a pipe on its standard input whose end tells it that we are gone.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from django.conf import settings

from redpen.services.process import PR_SET_PDEATHSIG, libc

MARK = "REDPEN_RUN"  # in the environment of every process of a run: run id and attempt
SECRETS = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY")
GRACE = 6.0  # seconds between asking to stop and killing; the supervisor gives a worker 10


def command(run_dir: Path) -> list[str]:
    """`accelerate launch` by `settings.ACCELERATE_CONFIG` or, without one, for what this machine has;
    `settings.TRAINING_COMMAND` (tests) stands in for it.
    """
    if stand_in := getattr(settings, "TRAINING_COMMAND", None):
        return [*stand_in, str(run_dir)]
    launch = [sys.executable, "-m", "accelerate.commands.launch"]
    if settings.ACCELERATE_CONFIG:
        return [*launch, "--config_file", settings.ACCELERATE_CONFIG, "--module", "training.launch", str(run_dir)]
    gpus = count_gpus()
    launch += ["--num_machines", "1", "--dynamo_backend", "no"]
    launch += ["--mixed_precision", "no", "--num_processes", str(max(1, gpus))]
    if gpus == 0:
        launch += ["--cpu", "--num_cpu_threads_per_process", str(settings.TRAIN_THREADS)]
    elif gpus > 1:
        launch.append("--multi_gpu")
    return [*launch, "--module", "training.launch", str(run_dir)]


def count_gpus() -> int:
    """How many NVIDIA GPUs a child would see. Asked of the driver: importing torch here would cost a worker 300 MB."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return len([device for device in visible.split(",") if device.strip() not in ("", "-1")])
    if not (tool := shutil.which("nvidia-smi")):
        return 0
    listed = subprocess.run([tool, "--list-gpus"], capture_output=True, text=True, timeout=30)
    return len([line for line in listed.stdout.splitlines() if line.startswith("GPU ")])


def environment(mark: str) -> dict[str, str]:
    """Ours without the secrets, with threads set on purpose: two libraries that each take all cores halve the speed."""
    kept = {name: value for name, value in os.environ.items() if name not in SECRETS}
    threads = str(settings.TRAIN_THREADS)
    return {
        **kept,
        MARK: mark,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }


class Child:
    """One attempt's process and everything below it. Start it from a thread that lives as long as it should."""

    def __init__(self, run_dir: Path, mark: str) -> None:
        parent = os.getpid()
        self.mark = mark
        self._term_at: float | None = None

        def tie_to_parent() -> None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

        with (run_dir / "log.txt").open("ab") as output:
            self._process = subprocess.Popen(
                command(run_dir),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=tie_to_parent,
                cwd=settings.BASE_DIR,
                env=environment(mark),
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while the process that we started runs."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        """SIGTERM once, to all; then SIGKILL for those who take longer than GRACE. Called again and again."""
        if self._term_at is None:
            self._term_at = time.monotonic()
            signal_all(self.mark, self.pid, signal.SIGTERM)
        elif time.monotonic() - self._term_at > GRACE:
            self.kill()

    def alive(self) -> bool:
        """Whether anything of it runs: accelerate may have gone before the process that it started."""
        return self.exit_code() is None or bool(processes(self.mark, self.pid))

    def kill(self) -> None:
        """End every process of the run, whatever it is doing. Safe from any thread."""
        for _ in range(3):  # one that is just being forked may slip through once
            left = signal_all(self.mark, self.pid, signal.SIGKILL)
            if not left:
                break
            psutil.wait_procs(left, timeout=5)

    def close(self) -> None:
        """Nothing of it is left after this."""
        self.kill()
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()


def processes(mark: str, group: int | None = None) -> list[psutil.Process]:
    """The running processes of a run: of its group, or with its mark (a launcher may open groups of its own)."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                continue
            if (group is not None and os.getpgid(process.pid) == group) or process.environ().get(MARK) == mark:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def signal_all(mark: str, group: int | None, sign: signal.Signals) -> list[psutil.Process]:
    """Send `sign` to all of them; those that it was sent to."""
    found = processes(mark, group)
    for process in found:
        try:
            process.send_signal(sign)
        except psutil.Error:
            continue
    return found


def end_leftovers(run_id: object) -> int:
    """End what an earlier attempt may have left on this machine (its worker was frozen, say, and not killed)."""
    left = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").startswith(f"{run_id}:"):
                process.kill()
                left.append(process)
        except (psutil.Error, OSError):
            continue
    psutil.wait_procs(left, timeout=5)
    return len(left)
