"""An attempt that goes on from a checkpoint: the platform keeps what was said once, and the curve goes on."""

import json
from pathlib import Path

import pytest

from annotation.models import Response
from tests.training.test_worker import due_now, launch
from training.models import Run
from training.queries import runs as queries
from training.runs import events, places, worker

CHILD = Path(__file__).with_name("resuming.py")


@pytest.fixture
def child(settings, monkeypatch, stand_in):
    """Runs start tests/training/resuming.py: 6 steps, a checkpoint after every second, dead in the middle of some."""
    settings.TRAINING_COMMAND = [settings.TRAINING_COMMAND[0], str(CHILD)]

    def dies_at(*steps):
        monkeypatch.setenv("DIES_AT", json.dumps(steps))

    return dies_at


def carry_out(run):
    due_now()
    assert worker.work_once("test")
    run.refresh_from_db()
    return run


def points(run):
    return list(run.events.filter(type="metrics").order_by("attempt", "seq").values_list("attempt", "step"))


def test_what_comes_again_after_a_checkpoint_is_stored_once(committed, child):
    child(3, 5)
    run = launch(committed)
    assert carry_out(run).state == "queued"
    assert carry_out(run).state == "queued"
    assert carry_out(run).state == "succeeded"
    assert run.attempt == 3
    # died in step 3, which it had said already; went on from 2
    assert points(run) == [(1, 0), (1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (3, 6)]
    shown = list(run.events.filter(type="sample").values_list("step", flat=True).order_by("attempt", "seq"))
    assert shown == [1, 2, 3, 4, 5, 6]
    answers = list(Response.objects.filter(model_version=run.produced.pk).order_by("id").values_list("text", flat=True))
    assert answers == [f"answer of step {step}" for step in range(1, 7)]
    assert (run.step, run.total_steps) == (6, 6)
    # one curve, whichever attempt drew it
    assert queries.origins(run) == {2: 1, 3: 1}
    assert queries.last_metrics(run)["loss"] == 1 / 6
    assert "goes on from the last checkpoint" in " ".join(
        run.events.filter(type="log").values_list("data__text", flat=True)
    )
    assert not list((places.attempt_folder(run, 1)).glob("checkpoints/*"))


def test_an_attempt_that_finds_no_checkpoint_starts_a_curve_of_its_own(committed, child):
    child(1)
    run = launch(committed)
    carry_out(run)
    carry_out(run)
    assert run.state == "succeeded"
    assert points(run) == [(1, 0), (1, 1), *((2, step) for step in range(7))]
    assert queries.origins(run) == {}
    assert Response.objects.filter(model_version=run.produced.pk).count() == 6


def test_a_new_run_of_the_same_kind_starts_afresh(committed, child):
    from training.actions.runs import cancel_run, try_again

    child(3)
    run = launch(committed)
    carry_out(run)
    cancel_run(run=run, author=committed.ada)
    again, _ = try_again(run=Run.objects.get(pk=run.pk), author=committed.ada)
    child()
    carry_out(again)
    assert again.state == "succeeded"
    assert points(again) == [(1, step) for step in range(7)]
    assert json.loads((places.attempt_folder(again, 1) / "run.json").read_text())["resume_from"] == []


def test_of_several_processes_the_one_that_failed_has_the_last_word(tmp_path):
    said = [
        {"type": "error", "seq": 10_000_000, "message": "no memory"},
        {"type": "cancelled", "seq": 1},
    ]
    (tmp_path / events.NAME).write_text("".join(json.dumps(one) + "\n" for one in said))
    assert events.last_word(tmp_path / events.NAME)["message"] == "no memory"
