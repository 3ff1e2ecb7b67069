"""A worker process that is killed in mid-run: its child goes with it, and the run goes on elsewhere."""

import os
import signal
import subprocess
import sys

import psutil
import pytest
from django.db import connection

from tests.running import REPOSITORY, wait_for
from tests.training.conftest import committed, stand_in  # noqa: F401 - fixtures
from tests.training.test_worker import due_now, launch, left_behind
from training.runs import lease, worker

WORK = """
import sys
sys.path.insert(0, "platform")
import django
django.setup()
from training.runs import worker
worker.TICK = worker.ASK = 0.1
worker.work_once("in a process")
"""


@pytest.fixture
def start_worker():
    started = []

    def start(**extra):
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.faults.worker_settings",
            "FAULTS_DATABASE": connection.settings_dict["NAME"],
            **extra,
        }
        process = subprocess.Popen(
            [sys.executable, "-c", WORK], cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stderr.close()


def attempts(run):
    return sorted(set(run.events.filter(type="metrics").values_list("attempt", flat=True)))


def test_the_child_of_a_killed_worker_dies_and_the_run_is_finished_by_another(committed, stand_in, start_worker):  # noqa: F811
    run = launch(committed)
    process = start_worker(STAND_IN="steps=1000 pause=0.05")
    wait_for(lambda: run.events.filter(type="metrics").count() > 3, 30, lambda: str(process.poll()))
    assert len(left_behind(run)) == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not left_behind(run), 3)
    assert lease.take_back_lapsed() == 0  # not before its lease has run out
    wait_for(lease.take_back_lapsed, 5)
    due_now()
    assert worker.work_once("the other")
    run.refresh_from_db()
    assert (run.state, run.attempt, run.failure) == ("succeeded", 2, None)
    assert attempts(run) == [1, 2]
    steps = list(run.events.filter(type="metrics", attempt=2).order_by("seq").values_list("step", flat=True))
    assert steps == [1, 2, 3, 4, 5]
    assert "fell silent" in " ".join(run.events.filter(type="log", attempt=1).values_list("data__text", flat=True))
    assert left_behind(run) == []


def test_a_frozen_worker_loses_its_run_and_stops_its_child_when_it_wakes(committed, stand_in, start_worker):  # noqa: F811
    run = launch(committed)
    process = start_worker(STAND_IN="steps=1000 pause=0.05")
    wait_for(lambda: run.events.filter(type="metrics").count() > 3, 30)
    os.kill(process.pid, signal.SIGSTOP)
    wait_for(lease.take_back_lapsed, 5)
    due_now()
    assert worker.work_once("the other")  # which also ends the frozen one's child on this machine
    assert left_behind(run) == []
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(15) == 0
    run.refresh_from_db()
    assert (run.state, run.attempt) == ("succeeded", 2)
    assert not run.events.filter(attempt=1, at__gt=run.ended_at).exists()


def test_a_killed_child_is_replaced_and_its_own_children_go_with_it(committed, stand_in, start_worker):  # noqa: F811
    run = launch(committed)
    process = start_worker(STAND_IN="steps=1000 pause=0.05 grandchild=1")
    wait_for(lambda: len(left_behind(run)) == 2, 30)
    child = min((psutil.Process(pid) for pid in left_behind(run)), key=lambda one: one.create_time())
    child.kill()
    assert process.wait(15) == 0
    assert left_behind(run) == []
    run.refresh_from_db()
    assert (run.state, run.attempt) == ("queued", 1)
    stand_in()
    due_now()
    assert worker.work_once("again")
    run.refresh_from_db()
    assert (run.state, run.attempt) == ("succeeded", 2)
