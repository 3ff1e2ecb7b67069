"""What the command needs of this machine: servers where none run, and workers that carry runs out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.db import connection

from redpen import env as environment
from redpen.services import claims, process
from redpen.services.postgres import Postgres
from redpen.services.redis import Redis
from training.actions.base_models import add_base_model
from training.models import BaseModel
from training.runs import lease, worker
from training.runs.child import count_gpus
from training.runs.child import environment as environment_of_a_run

Say = Callable[[str], None]
SWEEP = 5.0  # seconds between two looks for runs whose worker has died
ENSURE = """
import json, sys
from pathlib import Path
from training.engine.world_bases import ensure_world_base
print(json.dumps(str(ensure_world_base(Path(sys.argv[1]), sys.argv[2], say=lambda text: print(text, file=sys.stderr)))))
"""


@contextmanager
def servers(say: Say) -> Iterator[bool]:
    """Postgres and Redis, for as long as this lasts; True where a Redpen that is up has them (and workers) already."""
    env, data_dir = environment.read(), settings.DATA_DIR
    try:
        lock = claims.claim_data_folder(data_dir, port=env.PORT)
    except claims.Taken:
        yield True
        return
    running: list[subprocess.Popen[Any]] = []
    with lock:
        try:
            if not env.DATABASE_URL:
                postgres = Postgres(data_dir)
                postgres.initialise()
                running.append(postgres.start())
                postgres.wait(running[-1])
            if not env.REDIS_URL:
                redis = Redis(data_dir)
                running.append(redis.start())
                redis.wait(running[-1])
            call_command("migrate", interactive=False, verbosity=0)
            say("Postgres and Redis are started for this comparison.")
            yield False
        finally:
            connection.close()
            connection.close_pool()
            for one in reversed(running):
                process.stop(one)


@contextmanager
def workers(count: int) -> Iterator[list[subprocess.Popen[Any]]]:
    """So many processes that carry out what is due. Stopped, they hand their runs back to the queue."""
    log = settings.DATA_DIR / "log" / "compare-workers.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    threads = max(1, (os.cpu_count() or 1) // max(1, count))
    started: list[subprocess.Popen[Any]] = []
    try:
        with log.open("ab") as output:
            for _ in range(count):
                started.append(
                    subprocess.Popen(
                        [sys.executable, str(Path(settings.BASE_DIR) / "manage.py"), "compare", "--worker"],
                        stdin=subprocess.PIPE,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,  # Ctrl-C is ours to pass on
                        env={**os.environ, "TRAIN_THREADS": os.environ.get("TRAIN_THREADS", str(threads))},
                    )
                )
        yield started
    finally:
        for one in started:
            if one.poll() is None:
                one.send_signal(signal.SIGTERM)
        for one in started:
            try:
                one.wait(timeout=20)
            except subprocess.TimeoutExpired:
                one.kill()


def work() -> None:
    """Be such a worker, until somebody says stop or the one who started us is gone."""
    signal.signal(signal.SIGTERM, lambda *_: worker.shutting_down.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def leave_with_the_parent() -> None:
        while os.read(0, 1024):
            pass
        worker.shutting_down.set()

    threading.Thread(target=leave_with_the_parent, daemon=True).start()
    with nursery():
        swept = 0.0
        while not worker.shutting_down.is_set():
            if time.monotonic() - swept > SWEEP:
                lease.take_back_lapsed()
                swept = time.monotonic()
            if not worker.work_once():
                worker.shutting_down.wait(0.3)


@contextmanager
def nursery() -> Iterator[None]:
    """Runs are forked from a process that has loaded torch, where that can be: one process a run, on the CPU."""
    if settings.ACCELERATE_CONFIG or count_gpus() or getattr(settings, "TRAINING_COMMAND", None):
        yield
        return
    script = str(Path(__file__).with_name("nursery.py"))
    with tempfile.TemporaryDirectory(prefix="redpen-nursery-") as place:
        path = f"{place}/socket"
        started = subprocess.Popen(
            [sys.executable, script, "serve", path],
            stdin=subprocess.PIPE,
            cwd=settings.BASE_DIR,
            env={**environment_of_a_run(""), "PYTHONPATH": str(settings.BASE_DIR)},
            start_new_session=True,
        )
        try:
            while not Path(path).exists() and started.poll() is None:
                time.sleep(0.1)
            if started.poll() is None:
                settings.TRAINING_COMMAND = [sys.executable, "-I", script, path]
            yield
        finally:
            if started.stdin:
                started.stdin.close()
            started.wait()


def world_base(spec: str, say: Say) -> str:
    """The base model that has read the world, made where it is not there; its name. Torch works in a child."""
    if spec.partition(":")[0] == "support":
        return "tiny"
    name = f"tiny {spec}"
    if BaseModel.objects.filter(name=name).exists():
        return name
    say(f"Making the tiny base model of {spec}.")
    made = subprocess.run(
        [sys.executable, "-c", ENSURE, str(settings.DATA_DIR / "base"), spec],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=settings.BASE_DIR,
        env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"},
    )
    return add_base_model(name=name, location=made.stdout.strip().splitlines()[-1].strip('"')).name
