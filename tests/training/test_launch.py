"""Launching: everything that is wrong is said at once, before anything is loaded; a double click starts one run."""

import pytest
from django.db import connection

from annotation.models import Rewrite
from redpen.accounts.errors import Conflict, Invalid
from redpen.accounts.models import AuditEvent
from tests.training.factories import make_base, make_model, make_prompt, make_response, mark, prefer
from training.actions.runs import Launch, LaunchRefused, cancel_run, launch_run, try_again
from training.models import Run, Snapshot
from training.recipes import registry

SPANS = Launch(recipe="span_reward_model", base_model="tiny")


def refused(cast, launch):
    with pytest.raises(LaunchRefused) as caught:
        launch_run(project=cast.project, author=cast.ada, launch=launch)
    assert not Run.objects.exists()
    return {problem["pointer"]: problem for problem in caught.value.problems}


def test_a_run_is_queued_with_its_frozen_query_and_an_audit_line(marked):
    run, fresh = launch_run(project=marked.project, author=marked.ada, launch=SPANS)
    assert fresh
    assert (run.number, run.state, run.attempt, run.preset) == (1, "queued", 0, "laptop")
    assert run.config["epochs"] == registry.get("span_reward_model").presets["laptop"]["epochs"]
    assert run.snapshot.state == Snapshot.State.BUILDING
    assert run.snapshot.query["kinds"] == ["response"]
    assert run.snapshot.query["until"]
    assert list(AuditEvent.objects.order_by("id").values_list("action", flat=True)) == [
        "snapshot.frozen",
        "run.launched",
    ]


def test_all_that_is_wrong_is_said_at_once_with_pointers(cast):
    launch = Launch(
        recipe="raft",
        base_model="gpt-9",
        config={"rounds": 0, "lr": "fast", "colour": "red", "forbid": "("},
        inputs={"critic": "x"},
        seed=-1,
    )
    problems = refused(cast, launch)
    assert set(problems) == {
        "/config/rounds",
        "/config/lr",
        "/config/colour",
        "/config/forbid",
        "/base_model",
        "/inputs/reward_model",
        "/inputs/critic",
        "/seed",
        "/data",
    }
    assert problems["/config/rounds"]["message"] == "This is at least 1."
    assert problems["/config/colour"]["message"] == "The recipe has no option of this name."
    assert problems["/config/forbid"]["message"].startswith("Not a regular expression")
    assert "train a reward model or span reward model first" in problems["/inputs/reward_model"]["message"]
    assert "Import prompts first" in problems["/data"]["message"]


def test_a_recipe_or_preset_that_does_not_exist_is_refused(marked):
    assert "/recipe" in refused(marked, Launch(recipe="alchemy", base_model="tiny"))
    assert "/preset" in refused(marked, Launch(recipe="raft", preset="cluster", base_model="tiny"))


def test_without_marks_in_the_train_split_nothing_starts(cast):
    make_base()
    assert "Mark some answers" in refused(cast, SPANS)["/data"]["message"]
    mark(make_response(make_prompt(cast.project, split="test"), "one"), "one")
    assert "1 are held out" in refused(cast, SPANS)["/data"]["message"]
    mark(make_response(make_prompt(cast.project), "one"), "one", sentiment=0)
    mark(make_response(make_prompt(cast.other_project), "one"), "one")
    launch_run(project=cast.project, author=cast.ada, launch=SPANS)


def test_reviewed_answers_without_a_good_or_bad_phrase_teach_nothing(cast):
    make_base()
    mark(make_response(make_prompt(cast.project), "one"), "one", sentiment=0)
    assert refused(cast, SPANS)["/data"]["code"] == "data.no_marks"


def test_of_a_recipe_that_reads_several_kinds_one_is_enough(cast):
    make_base()
    words = refused(cast, Launch(recipe="dpo", base_model="tiny"))["/data"]["message"]
    assert "compared pairs of answers or rankings or" in words
    assert "Compare some pairs" in words
    prompt = make_prompt(cast.project, split="test")
    prefer(make_response(prompt), make_response(prompt))
    assert "(1 are held out" in refused(cast, Launch(recipe="dpo", base_model="tiny"))["/data"]["message"]
    prompt = make_prompt(cast.project)
    Rewrite.objects.create(
        project=cast.project,
        response=make_response(prompt),
        better=make_response(prompt),
        agent="sim:ines",
        origin="program",
    )
    run, _ = launch_run(project=cast.project, author=cast.ada, launch=Launch(recipe="dpo", base_model="tiny"))
    assert {"preference", "rewrite", "reaction"} <= set(run.snapshot.query["kinds"])


def test_a_model_of_another_kind_or_project_is_no_input(marked):
    policy = make_model(marked.project, kind="policy", name="p")
    foreign = make_model(marked.other_project, name="f")
    for model, code in ((policy, "input.kind"), (foreign, "input.unknown"), (None, "input.unknown")):
        inputs = {"span_reward_model": model.pk if model else "not an id"}
        problems = refused(marked, Launch(recipe="raft", base_model="tiny", inputs=inputs))
        assert problems["/inputs/span_reward_model"]["code"] == code
    judge = make_model(marked.project)
    inputs = {"span_reward_model": judge.pk, "policy": policy.pk}
    run, _ = launch_run(
        project=marked.project, author=marked.ada, launch=Launch(recipe="raft", base_model="tiny", inputs=inputs)
    )
    assert {one.kind: one.model_version for one in run.inputs.all()} == {"span_reward_model": judge, "policy": policy}


def test_a_base_model_that_was_refused_starts_nothing(marked):
    base = make_base("odd")
    base.check_report = {"refused": "it has no chat template"}
    base.save()
    problems = refused(marked, Launch(recipe="span_reward_model", base_model="odd"))
    assert "no chat template" in problems["/base_model"]["message"]


def test_a_double_click_starts_one_run_and_another_request_under_its_key_is_refused(marked):
    first, fresh = launch_run(project=marked.project, author=marked.ada, launch=SPANS, client_key="k")
    again, second = launch_run(project=marked.project, author=marked.ada, launch=SPANS, client_key="k")
    assert (fresh, second, again.pk) == (True, False, first.pk)
    other = Launch(recipe="span_reward_model", base_model="tiny", seed=7)
    with pytest.raises(Invalid) as caught:
        launch_run(project=marked.project, author=marked.ada, launch=other, client_key="k")
    assert caught.value.code == "run.key_reused"


def test_a_queued_run_is_cancelled_at_once_and_a_running_one_is_asked(marked):
    run, _ = launch_run(project=marked.project, author=marked.ada, launch=SPANS)
    assert cancel_run(run=run, author=marked.ada).state == "cancelled"
    with pytest.raises(Conflict, match="already ended"):
        cancel_run(run=run, author=marked.ada)
    run, _ = launch_run(project=marked.project, author=marked.ada, launch=SPANS)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE training_run SET state='running', attempt=1, lease_expires_at=now() WHERE id=%s", [run.pk]
        )
    assert cancel_run(run=run, author=marked.ada).state == "cancelling"
    assert cancel_run(run=run, author=marked.ada).state == "cancelling"


def test_trying_again_makes_a_new_run_of_the_same_kind(marked):
    run, _ = launch_run(
        project=marked.project,
        author=marked.ada,
        launch=Launch(recipe="span_reward_model", base_model="tiny", config={"epochs": 7}, seed=3, name="mine"),
    )
    with pytest.raises(Conflict):
        try_again(run=run, author=marked.ada)
    cancel_run(run=run, author=marked.ada)
    again, fresh = try_again(run=run, author=marked.ada)
    assert fresh
    assert (again.number, again.again_of, again.seed, again.name) == (2, run, 3, "mine")
    assert again.config == run.config
    assert again.attempt == 0


def test_a_bell_that_cannot_be_rung_loses_nothing(marked, settings, django_capture_on_commit_callbacks, monkeypatch):
    from training import tasks

    def broken(*args, **options):
        raise tasks.BellBroken("no Redis")

    monkeypatch.setattr(tasks.work, "apply_async", broken)
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        run, _ = launch_run(project=marked.project, author=marked.ada, launch=SPANS)
    assert len(callbacks) == 1
    run.refresh_from_db()
    assert run.state == "queued"
