"""All of Redpen under kill -9 in the middle of a run: the run ends well, no process is left, the events are whole."""

import json
import time

import psutil
import psycopg
import pytest

from redpen.services.addresses import embedded_database_url
from tests.running import running, wait_for

pytestmark = pytest.mark.slow

SEED = """
from tests.cast import make_cast
from tests.training.conftest import fill
fill(make_cast())
"""
LAUNCH = """
from redpen.accounts.models import Project, User
from training.actions.runs import Launch, launch_run
project = Project.objects.get(slug="lantern")
run, _ = launch_run(project=project, author=User.objects.get(email="ada@example.org"),
                    launch=Launch(recipe="span_reward_model", base_model="tiny"))
print("run", run.number)
"""


@pytest.fixture(scope="module")
def redpen():
    settings = {
        "DJANGO_SETTINGS_MODULE": "tests.faults.up_settings",
        "LEASE_SECONDS": "20",
        "BEAT_SECONDS": "2",
        "STAND_IN": "steps=160 pause=0.1 responses=2",
    }
    with running(**settings) as one:
        one.start_and_wait()
        one.manage("shell", "-c", SEED)
        yield one


def launch(redpen) -> int:
    return int(redpen.manage("shell", "-c", LAUNCH).split()[-1])


def ask(redpen, sql, *values):
    try:
        with psycopg.connect(embedded_database_url(redpen.data_dir), connect_timeout=2) as connection:
            return connection.execute(sql, values).fetchone()
    except psycopg.OperationalError:
        return None


def run_row(redpen, number):
    columns = "state, attempt, step, failure, id"
    row = ask(redpen, f"SELECT {columns} FROM training_run WHERE number = %s", number)
    return dict(zip(columns.split(", "), row, strict=True)) if row else {"state": "?", "step": 0}


def in_the_middle(redpen, number):
    wait_for(
        lambda: run_row(redpen, number)["state"] == "running" and run_row(redpen, number)["step"] > 10,
        60,
        lambda: f"{run_row(redpen, number)}\n{redpen.output()}",
    )


def children_of_runs(redpen):
    """Processes of runs of this installation, and of no other on the machine."""
    found = []
    for process in psutil.process_iter():
        try:
            told = process.environ()
            if told.get("REDPEN_RUN") and told.get("DATA_DIR") == str(redpen.data_dir):
                found.append(process)
        except psutil.Error:
            continue
    return found


def ends_well(redpen, number, *, seconds=150):
    wait_for(
        lambda: run_row(redpen, number)["state"] in ("succeeded", "failed", "cancelled"),
        seconds,
        lambda: f"{run_row(redpen, number)}\n{redpen.output()}",
    )
    row = run_row(redpen, number)
    assert row["state"] == "succeeded", row
    wait_for(lambda: not children_of_runs(redpen), 10, lambda: str(children_of_runs(redpen)))
    attempt = row["attempt"]
    count, last, repeated = ask(
        redpen,
        "SELECT count(*), max(step), count(*) - count(DISTINCT (attempt, seq)) FROM training_runevent "
        "WHERE run_id = %s AND type = 'metrics' AND attempt = %s",
        row["id"],
        attempt,
    )
    assert (count, last, repeated) == (160, 160, 0)
    answers = ask(
        redpen,
        "SELECT count(*) FROM annotation_response r JOIN training_run t ON t.produced_id = r.model_version "
        "WHERE t.id = %s",
        row["id"],
    )
    assert answers == (2,)
    return row


@pytest.mark.parametrize("service", ["redis", "postgres", "worker-train", "web", "scheduler"])
def test_a_run_ends_well_when_a_service_is_killed_in_the_middle(redpen, service):
    number = launch(redpen)
    in_the_middle(redpen, number)
    redpen.kill(service)
    row = ends_well(redpen, number)
    # only the worker's own death costs the attempt; the database was back within the lease
    assert row["attempt"] == (2 if service == "worker-train" else 1), row


def test_the_child_killed_three_times_fails_the_run_with_a_reason(redpen):
    number = launch(redpen)
    for attempt in (1, 2, 3):
        wait_for(
            lambda attempt=attempt: (
                (row := run_row(redpen, number))["state"] == "running"
                and row["attempt"] == attempt
                and row["step"] > 2
                and children_of_runs(redpen)
            ),
            60,
            lambda: f"{run_row(redpen, number)}\n{redpen.output()}",
        )
        for process in children_of_runs(redpen):
            process.kill()
    wait_for(lambda: run_row(redpen, number)["state"] == "failed", 30, lambda: str(run_row(redpen, number)))
    failure = run_row(redpen, number)["failure"]
    failure = failure if isinstance(failure, dict) else json.loads(failure)
    assert failure["message"].startswith("All 3 attempts came to nothing. The training process was killed (signal 9)")
    assert "Try again" in failure["action"]
    assert children_of_runs(redpen) == []


def test_a_flushed_redis_changes_nothing(redpen):
    import redis

    from redpen.services.addresses import embedded_redis_url

    numbers = [launch(redpen)]
    in_the_middle(redpen, numbers[0])
    numbers.append(launch(redpen))  # its bell hangs in Redis
    with redis.Redis.from_url(embedded_redis_url(redpen.data_dir)) as client:
        client.flushall()
    for number in reversed(numbers):  # the last first: while it runs it has a child, and that is no leftover
        assert ends_well(redpen, number)["attempt"] == 1


def test_stopping_in_order_hands_the_run_back_and_the_next_start_finishes_it(redpen):
    """Last in this file: it stops and starts the one that the others use."""
    number = launch(redpen)
    in_the_middle(redpen, number)
    started = time.monotonic()
    assert redpen.stop() == 0
    assert time.monotonic() - started < 20
    assert redpen.left() == []
    assert children_of_runs(redpen) == []
    redpen.start_and_wait(60)
    row = ends_well(redpen, number)
    assert row["attempt"] == 2
    allowed = ask(redpen, "SELECT attempts_allowed FROM training_run WHERE id = %s", row["id"])
    assert allowed == (4,)
