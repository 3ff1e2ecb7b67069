"""Chains: a run waits for those before it and is given what they made."""

import pytest

from tests.training.factories import make_model
from training.actions import chains
from training.actions.runs import Launch, LaunchRefused, cancel_run, launch_run, try_again
from training.models import Run
from training.runs import lease


def launch(cast, recipe="span_reward_model", **fields):
    wanted = Launch(recipe=recipe, base_model="tiny", **fields)
    return launch_run(project=cast.project, author=cast.ada, launch=wanted)[0]


def succeed(run):
    """As a worker would: claimed, done, with a model."""
    hold = lease.claim("w")
    assert hold.run_id == run.pk
    kind = {"span_reward_model": "span_reward_model", "raft": "policy"}[run.recipe]
    model = make_model(run.project, kind=kind, name=f"made by {run.number}")
    hold.update("running", state="succeeded", produced=model, lease_expires_at=None, ended_at=lease.Now())
    return model


def fail(run):
    hold = lease.claim("w")
    assert hold.run_id == run.pk
    lease.fail(hold, code="x", message="It broke.", action="Mend it.")


def test_a_run_waits_for_the_one_before_it_and_is_given_its_model(marked):
    first = launch(marked)
    second = launch(marked, "raft", after=(first.number,))
    assert second.state == "waiting"  # although raft needs a span reward model, which there is not yet
    assert chains.move_on() == 0
    model = succeed(first)
    assert chains.move_on() == 1
    second.refresh_from_db()
    assert second.state == "queued"
    assert [one.model_version for one in second.inputs.all()] == [model]
    assert chains.move_on() == 0


def test_what_comes_after_a_run_that_failed_fails_with_the_reason(marked):
    first = launch(marked)
    second = launch(marked, "raft", after=(first.number,))
    third = launch(marked, "evaluation", after=(second.number,), config={"checker": "support"})
    fail(first)
    assert chains.move_on() == 2
    second.refresh_from_db()
    third.refresh_from_db()
    assert (second.state, third.state) == ("failed", "failed")
    assert second.failure["code"] == "run.before_failed"
    assert "Run 1" in second.failure["message"]
    assert "Run 2" in third.failure["message"]


def test_cancelling_a_run_cancels_what_waits_for_it(marked):
    first = launch(marked)
    second = launch(marked, "raft", after=(first.number,))
    cancel_run(run=first, author=marked.ada)
    second.refresh_from_db()
    assert second.state == "cancelled"


def test_a_run_that_comes_after_two_waits_for_both(marked):
    first, other = launch(marked), launch(marked, seed=1)
    last = launch(marked, "raft", after=(first.number, other.number))
    succeed(first)
    assert chains.move_on() == 0
    succeed(other)
    assert chains.move_on() == 1
    last.refresh_from_db()
    assert last.state == "queued"


def test_a_run_after_one_that_has_succeeded_starts_at_once(marked):
    first = launch(marked)
    model = succeed(first)
    second = launch(marked, "raft", after=(first.number,))
    assert second.state == "queued"
    assert second.inputs.get().model_version == model


def test_a_launch_after_a_run_that_is_lost_or_unknown_is_refused(marked):
    first = launch(marked)
    fail(first)
    with pytest.raises(LaunchRefused) as refused:
        launch(marked, after=(first.number, 99))
    assert [one["code"] for one in refused.value.problems] == ["after.ended", "after.unknown"]
    first.refresh_from_db()
    again, _ = try_again(run=first, author=marked.ada)
    assert launch(marked, "raft", after=(again.number,)).state == "waiting"


def test_the_sweeper_finds_what_a_dead_worker_left_waiting(marked, monkeypatch):
    from training import tasks

    monkeypatch.setattr(tasks, "bells_hanging", lambda: 1)
    first = launch(marked)
    second = launch(marked, "raft", after=(first.number,))
    succeed(first)
    tasks.sweep()
    assert Run.objects.get(pk=second.pk).state == "queued"


def test_a_runs_page_says_what_it_comes_after_and_what_it_has_cost(marked):
    from training.runs import events

    first = launch(marked)
    second = launch(marked, "raft", after=(first.number,))
    hold = lease.claim("w")
    costs = {
        "cpu_seconds": 2.5,
        "loading_cpu_seconds": 1,
        "seconds": 4,
        "peak_memory": 3 * 2**20,
        "tokens_written": 1234,
    }
    events.store(
        hold, [{"type": "costs", "seq": 0, "at": 1.0, **costs}, {"type": "costs", "seq": 1, "at": 2.0, **costs}]
    )
    html = marked.client(marked.ada).get(f"/p/lantern/runs/{first.number}/").content.decode()
    assert "2.5 s of CPU time" in html
    assert "1,234 tokens written" in html  # the newest word counts, not the sum of what was told on the way
    later = marked.client(marked.ada).get(f"/p/lantern/runs/{second.number}/").content.decode()
    assert 'Comes after</dt><dd><a href="/p/lantern/runs/1/"' in later
