"""The demo project: filled once, by the same rules as everything else."""

from __future__ import annotations

from collections import Counter

import pytest

from annotation.models import Assignment, Preference, Prompt, Rewrite, SpanCritique, Task
from redpen.accounts.models import Membership, Project
from training.demo import fill_demo, prepare_model
from training.models import Run
from training.worlds.demo import demo_content


@pytest.fixture
def content():
    return demo_content(0, prompts=20, labelled=24, twice=6, compared=6, unanswered=4)


def test_the_demo_is_filled_once(db, content):
    added = fill_demo(content)
    assert added["prompts"] == 24
    assert added["responses"] == 40
    assert min(added.values()) > 0
    assert fill_demo(content) == dict.fromkeys(added, 0)

    project = Project.objects.get(slug="demo")
    assert project.is_demo
    assert Membership.objects.filter(project=project).count() == 5
    marks = [mark for review in content.reviews for mark in review.marks]
    assert SpanCritique.objects.filter(project=project).count() == len(marks)
    assert Preference.objects.filter(project=project).count() == 6
    assert Rewrite.objects.filter(project=project).count() == len(content.rewrites)
    states = Counter(Task.objects.filter(project=project).values_list("kind", "state"))
    assert states == {
        ("spans", "done"): 24,
        ("spans", "open"): len(content.to_label),
        ("pair", "done"): 6,
        ("pair", "open"): len(content.to_compare),
    }


def test_simulated_marks_count_because_their_work_is_submitted(db, content):
    fill_demo(content)
    assert set(SpanCritique.objects.values_list("origin", "assignment__state")) == {("program", "submitted")}
    assert Assignment.objects.filter(agent__startswith="sim:").count() == Assignment.objects.count()


def test_a_span_reward_model_is_made_from_the_demos_marks_by_an_ordinary_run(db, content):
    fill_demo(content)
    project = Project.objects.get(slug="demo")
    run = prepare_model(project)
    assert prepare_model(project) == run
    assert Run.objects.count() == 1
    assert (run.recipe, run.base_model.name, run.state, run.created_by) == ("span_reward_model", "tiny", "queued", None)
    assert (run.config["fit"], run.config["rank"]) == ("exact", 0)
    assert run.snapshot.query["kinds"] == ["response"]


def test_there_are_prompts_enough_that_nothing_learns_from_to_count_on(db):
    fill_demo(demo_content())
    assert Prompt.objects.filter(project__slug="demo", split="dev").count() >= 80
