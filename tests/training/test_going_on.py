"""A run that was cancelled goes on from its checkpoint: the same run, one curve; what nobody can use is not kept."""

import pytest
from django.db import connection

from redpen.accounts.errors import Conflict
from redpen.accounts.models import AuditEvent
from tests.training.test_resumed import carry_out, child, points  # noqa: F401 - a fixture
from tests.training.test_worker import launch, left_behind, meanwhile, wait_for  # noqa: F401
from training.actions.going_on import go_on
from training.actions.runs import cancel_run
from training.models import Run
from training.runs import places, worker


def stopped(cast, child):  # noqa: F811
    """A run that died within its fourth step, after the checkpoint of the second, and was cancelled then."""
    child(4)
    run = carry_out(launch(cast))
    assert run.state == "queued"
    return cancel_run(run=run, author=cast.ada)


def test_a_cancelled_run_goes_on_from_its_checkpoint_as_one_training(committed, child):  # noqa: F811
    run = stopped(committed, child)
    assert (run.state, places.checkpoint_step(run)) == ("cancelled", 2)
    run = go_on(run=run, author=committed.ada)
    assert (run.state, run.ended_at, run.attempt, run.attempts_allowed) == ("queued", None, 1, 4)
    run = carry_out(run)
    assert (run.state, run.attempt, run.number) == ("succeeded", 2, 1)
    steps = [step for _, step in points(run)]
    assert [step for step in steps if step] == [1, 2, 3, 4, 5, 6], "each step is said once"
    assert run.produced is not None
    assert places.checkpoint_step(run) is None, "what nobody can go on from is removed"
    assert AuditEvent.objects.filter(action="run.gone_on").count() == 1


def test_a_second_click_changes_nothing(committed, child):  # noqa: F811
    run = go_on(run=stopped(committed, child), author=committed.ada)
    assert go_on(run=run, author=committed.ada).attempts_allowed == 4
    assert AuditEvent.objects.filter(action="run.gone_on").count() == 1


def test_without_a_checkpoint_or_after_another_end_nothing_goes_on(committed, stand_in):
    run = cancel_run(run=launch(committed), author=committed.ada)
    with pytest.raises(Conflict, match="has no checkpoint to go on from") as refused:
        go_on(run=run, author=committed.ada)
    assert refused.value.code == "run.no_checkpoint"
    stand_in()
    other = launch(committed)
    assert worker.work_once("test")
    other.refresh_from_db()
    with pytest.raises(Conflict, match="has succeeded: only one that was cancelled can go on"):
        go_on(run=other, author=committed.ada)


def test_what_a_cancelled_run_has_saved_is_kept_a_week(committed, stand_in, meanwhile):  # noqa: F811
    stand_in("steps=500 pause=0.05")
    run = launch(committed)
    thread = meanwhile()
    wait_for(lambda: run.events.filter(type="metrics").exists())
    (places.attempt_folder(run, 1) / "checkpoints" / "step-00000003").mkdir(parents=True)
    (places.attempt_folder(run, 1) / "checkpoints" / "step-00000004.part").mkdir()
    cancel_run(run=run, author=committed.ada)
    thread.join(20)
    run.refresh_from_db()
    assert (run.state, left_behind(run)) == ("cancelled", [])
    assert places.checkpoint_step(run) == 3
    places.drop_old_checkpoints()
    assert places.checkpoint_step(run) == 3
    with connection.cursor() as cursor:  # an ended run's row does not change: no trigger, for once
        cursor.execute("SET session_replication_role = replica")
        Run.objects.filter(pk=run.pk).update(ended_at="2026-01-01T00:00:00Z")
        cursor.execute("SET session_replication_role = DEFAULT")
    places.drop_old_checkpoints()
    assert places.checkpoint_step(run) is None


def test_the_page_offers_to_go_on_where_there_is_something_to_go_on_from(committed, child):  # noqa: F811
    run = stopped(committed, child)
    client = committed.client(committed.ada)
    page = client.get("/p/lantern/runs/1/").content.decode()
    assert "Go on from step 2" in page
    assert "Start over" in page
    assert "Go on from" not in committed.client(committed.vic).get("/p/lantern/runs/1/").content.decode()
    answer = client.post("/p/lantern/runs/1/go-on/", follow=True)
    assert "It goes on from its last checkpoint." in answer.content.decode()
    assert "Waiting to start again." in answer.content.decode()
    run.refresh_from_db()
    assert run.state == "queued"
    assert client.post("/api/v1/projects/lantern/runs/1/go-on").json()["state"] == "queued"
