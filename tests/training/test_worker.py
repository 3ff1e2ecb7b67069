"""One attempt of a run, with a real child process and real threads: how it ends, and that nothing of it is left."""

import json
import threading
import time

import psutil
import pytest
from django.conf import settings
from django.db import connection

from annotation.models import Response, Task
from redpen.accounts.models import AuditEvent
from training.actions.runs import Launch, cancel_run, launch_run
from training.models import ModelVersion, Run, RunEvent
from training.runs import child, events, lease, places, worker

SPANS = Launch(recipe="span_reward_model", base_model="tiny")


def launch(cast, what=SPANS):
    run, _ = launch_run(project=cast.project, author=cast.ada, launch=what)
    return run


def due_now():
    """Do not wait for the pause before an attempt that starts over."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE training_run SET due_at = now() WHERE state = 'queued'")


def left_behind(run):
    """The processes of a run that still run."""
    return [process.pid for process in psutil.process_iter() if mark_of(process).startswith(str(run.pk))]


def mark_of(process):
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else process.environ().get(child.MARK, "")
    except (psutil.Error, OSError):
        return ""


@pytest.fixture
def meanwhile():
    """Work in another thread, as a Celery worker does, while the test looks on."""
    threads = []

    def start(times=1):
        def work():
            for _ in range(times):
                worker.work_once("test")

        thread = threading.Thread(target=work)
        thread.start()
        threads.append(thread)
        return thread

    yield start
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def wait_for(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)
    return found


def test_a_run_makes_a_model_and_its_answers_wait_in_the_queue(committed, stand_in):
    stand_in("responses=3")
    run = launch(committed)
    assert worker.work_once("test")
    run.refresh_from_db()
    assert (run.state, run.failure, run.step, run.total_steps, run.attempt) == ("succeeded", None, 5, 5, 1)
    model = run.produced
    assert (str(model), model.kind, model.metrics) == ("span_reward_model v1", "span_reward_model", {"auroc_bad": 0.75})
    assert (settings.DATA_DIR / model.path / "weights.bin").read_bytes() == b"w" * 1000
    answers = Response.objects.filter(model_version=model.pk).order_by("id")
    assert [answer.text for answer in answers] == ["new answer 0", "new answer 1", "new answer 2"]
    assert (answers[0].model, answers[0].origin) == (str(model), "model")
    assert (answers[0].token_ids, answers[0].token_logprobs) == ([1, 2], [-0.5, -0.25])
    tasks = Task.objects.filter(response__in=answers, kind="spans", state="open")
    assert tasks.count() == 3
    assert tasks[0].priority > 0
    assert run.snapshot.state == "ready"
    assert run.snapshot.counts["rows"]["response"] == {"train": 4, "dev": 1, "test": 1}
    told = [event.data["text"] for event in run.events.filter(type="log").order_by("seq")]
    assert told[0] == f"span_reward_model attempt 1 with {settings.TRAIN_THREADS} threads"
    assert "3 new answers are stored, 3 of them waiting" in told[-1]
    assert run.events.filter(type="metrics").count() == 5
    # the child may write what Postgres cannot hold
    assert "one\N{REPLACEMENT CHARACTER}two" in json.dumps(run.events.get(type="sample").data, ensure_ascii=False)
    actions = set(AuditEvent.objects.values_list("action", flat=True))
    assert {"run.launched", "run.succeeded", "model.made", "tasks.created"} <= actions
    assert left_behind(run) == []
    assert not worker.work_once("test")


def test_an_error_that_the_child_explains_ends_the_run_with_its_words(committed, stand_in):
    stand_in("end=error")
    run = launch(committed)
    worker.work_once("test")
    run.refresh_from_db()
    assert (run.state, run.attempt) == ("failed", 1)
    assert run.failure == {
        "code": "data.no_marks",
        "message": "Nothing is marked.",
        "action": "Mark some answers.",
    }


@pytest.mark.parametrize(("end", "words"), [("crash", "exit code 3"), ("kill9", "was killed (signal 9)")])
def test_a_child_that_dies_is_started_again_and_after_three_attempts_the_run_fails(committed, stand_in, end, words):
    stand_in(f"steps=2 end={end}")
    run = launch(committed)
    for attempt in (1, 2, 3):
        due_now()
        assert worker.work_once("test")
        run.refresh_from_db()
        assert run.attempt == attempt
        assert run.state == ("failed" if attempt == 3 else "queued")
    assert run.failure["code"] == "run.child_died"
    assert run.failure["message"].startswith("All 3 attempts came to nothing.")
    assert words in run.failure["message"]
    assert "the last words of the child" in run.failure["message"]
    assert "Try again" in run.failure["action"]
    steps = list(run.events.filter(type="metrics").order_by("attempt", "seq").values_list("attempt", "step"))
    assert steps == [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)]
    assert ModelVersion.objects.count() == 0
    assert left_behind(run) == []


@pytest.mark.parametrize("manner", ["hang", "stubborn"])
def test_cancelling_stops_the_child_and_all_it_started(committed, stand_in, meanwhile, monkeypatch, manner):
    monkeypatch.setattr(child, "GRACE", 0.5)
    stand_in(f"steps=1 end={manner} grandchild=1")
    run = launch(committed)
    thread = meanwhile()
    wait_for(lambda: len(left_behind(run)) == 2)
    wait_for(lambda: run.events.filter(type="metrics").exists())
    assert cancel_run(run=run, author=committed.ada).state == "cancelling"
    thread.join(20)
    run.refresh_from_db()
    assert (run.state, run.lease_expires_at) == ("cancelled", None)
    assert left_behind(run) == []


def test_a_worker_that_is_stopped_hands_the_run_back_and_the_attempt_does_not_count(committed, stand_in, meanwhile):
    stand_in("steps=500 pause=0.05")
    run = launch(committed)
    thread = meanwhile()
    wait_for(lambda: run.events.filter(type="metrics").exists())
    worker.shutting_down.set()
    thread.join(20)
    run.refresh_from_db()
    assert (run.state, run.attempt, run.attempts_allowed) == ("queued", 1, 4)
    assert left_behind(run) == []
    assert not worker.work_once("test")  # nor does it take another
    worker.shutting_down.clear()
    stand_in()
    assert worker.work_once("test")
    run.refresh_from_db()
    assert (run.state, run.attempt) == ("succeeded", 2)


def test_a_worker_whose_fence_moved_stops_its_child_and_writes_nothing_more(committed, stand_in, meanwhile):
    stand_in("steps=500 pause=0.05")
    run = launch(committed)
    thread = meanwhile()
    wait_for(lambda: run.events.filter(type="metrics").exists())
    with connection.cursor() as cursor:  # a sweeper took it back and another worker claimed it
        cursor.execute("UPDATE training_run SET state = 'queued', lease_expires_at = NULL WHERE id = %s", [run.pk])
    hold = lease.claim("other")
    thread.join(20)
    assert left_behind(run) == []
    run.refresh_from_db()
    assert (run.state, run.attempt, run.worker) == ("running", 2, "other")
    assert not run.events.filter(attempt=2).exists()
    with pytest.raises(lease.Fenced):
        events.store(lease.Hold(run.pk, 1), [{"type": "log", "seq": 9999, "at": 0, "text": "late"}])
    events.store(hold, [{"type": "log", "seq": 0, "at": 0, "text": "mine"}])


def test_a_lease_that_cannot_be_renewed_stops_the_child_before_anybody_else_can_have_the_run(
    committed, stand_in, meanwhile, settings, monkeypatch
):
    settings.LEASE_SECONDS, settings.BEAT_SECONDS = 2, 0.5
    stand_in("steps=500 pause=0.05")
    run = launch(committed)

    from django.db import OperationalError

    def away(*args, **options):
        raise OperationalError("server closed the connection unexpectedly")

    thread = meanwhile()
    wait_for(lambda: run.events.filter(type="metrics").exists())
    with monkeypatch.context() as patch:
        patch.setattr(lease.Hold, "rows", away)  # every write of this worker
        started = time.monotonic()
        wait_for(lambda: not left_behind(run), seconds=4)
        assert time.monotonic() - started < 3.5
        thread.join(20)
    run.refresh_from_db()
    assert run.state == "running"  # it could not say so; its lease has lapsed
    wait_for(lambda: lease.take_back_lapsed())
    run.refresh_from_db()
    assert run.state == "queued"


def test_a_database_that_is_away_for_less_than_the_lease_is_survived(committed, stand_in, meanwhile, monkeypatch):
    from django.db import OperationalError

    stand_in("steps=40 pause=0.05 responses=1")
    run = launch(committed)
    thread = meanwhile()
    wait_for(lambda: run.events.filter(type="metrics").exists())
    real, until = lease.Hold.rows, time.monotonic() + 1.5

    def flaky(self, *states):
        if time.monotonic() < until:
            raise OperationalError("the database system is shutting down")
        return real(self, *states)

    monkeypatch.setattr(lease.Hold, "rows", flaky)
    thread.join(30)
    run.refresh_from_db()
    assert (run.state, run.attempt) == ("succeeded", 1)
    assert list(run.events.filter(type="metrics").order_by("seq").values_list("step", flat=True)) == list(range(1, 41))


def test_an_end_that_nobody_saw_is_taken_over_instead_of_training_again(committed, stand_in):
    stand_in("responses=2")
    run = launch(committed)
    hold = lease.claim("gone")
    folder = places.attempt_folder(run, 1)
    worker.prepare(hold, Run.objects.get(pk=run.pk), folder, lambda action, *a, **o: action(*a, **o))
    process = child.Child(folder, f"{run.pk}:1")
    wait_for(lambda: process.exit_code() is not None)
    process.close()
    lease.start_over(hold, message="gone", code="x", action="x")
    due_now()
    stand_in("end=crash")  # a second training would fail
    assert worker.work_once("test")
    run.refresh_from_db()
    assert (run.state, run.attempt) == ("succeeded", 2)
    assert Response.objects.filter(model_version=run.produced.pk).count() == 2
    assert run.events.filter(attempt=2, type="metrics").count() == 5


def test_a_lapsed_lease_is_taken_back_three_times_then_the_run_fails_with_a_reason(committed, stand_in):
    run = launch(committed)
    for _attempt in (1, 2, 3):
        due_now()
        assert lease.claim("silent") is not None
        assert lease.take_back_lapsed() == 0
        with connection.cursor() as cursor:
            cursor.execute("UPDATE training_run SET lease_expires_at = now() - interval '1 second'")
        assert lease.take_back_lapsed() == 1
    run.refresh_from_db()
    assert (run.state, run.failure["code"]) == ("failed", "run.worker_lost")
    assert "press Try again" in run.failure["action"]
    levels = list(RunEvent.objects.order_by("attempt", "seq").values_list("attempt", "data__level"))
    assert levels == [(1, "warning"), (2, "warning"), (3, "error")]


def test_a_cancelled_run_whose_worker_died_ends_cancelled(committed, stand_in):
    run = launch(committed)
    lease.claim("silent")
    cancel_run(run=run, author=committed.ada)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE training_run SET lease_expires_at = now() - interval '1 second'")
    assert lease.take_back_lapsed() == 1
    run.refresh_from_db()
    assert run.state == "cancelled"


def test_two_workers_never_hold_the_same_run(committed, stand_in):
    for _ in range(4):
        launch(committed)
    holds = []

    def take():
        while hold := lease.claim("w"):
            holds.append(hold.run_id)
        connection.close()

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(holds) == len(set(holds)) == 4


def test_a_run_whose_input_files_are_gone_says_so(committed, stand_in):
    from tests.training.factories import make_model

    judge = make_model(committed.project, path="models/erased")
    run = launch(committed, Launch(recipe="raft", base_model="tiny", inputs={"span_reward_model": judge.pk}))
    worker.work_once("test")
    run.refresh_from_db()
    assert (run.state, run.failure["code"]) == ("failed", "model.gone")
