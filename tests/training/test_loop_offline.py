"""The recipes that learn from stored records, through the platform: snapshot, worker, real child, model, new answers.

The models read too little to be good; that learning works is the recipes' tests' business.
"""

import json
from dataclasses import replace

import pytest
from django.conf import settings

from annotation.models import Response, Task
from redpen.accounts.demo import DEMO_LOGINS
from redpen.accounts.models import Project, User
from tests.tiny_base import copy_tiny_base
from training.actions.base_models import ensure_packaged
from training.actions.runs import Launch, launch_run
from training.demo import fill_demo
from training.models import Run
from training.runs import worker
from training.worlds.demo import demo_content

SHORT = {"epochs": 1, "passage_tokens": 0, "batch_size": 16, "evaluate_every": 0}
ANSWERS = {"new_answers": 2, "max_new_tokens": 16}


@pytest.fixture(scope="module")
def base(django_db_setup):
    return copy_tiny_base(settings.DATA_DIR / "base" / "tiny")


@pytest.fixture
def demo(transactional_db, base):
    ensure_packaged()
    content = demo_content(0)
    fill_demo(replace(content, reviews=content.reviews[:60], reactions=content.reactions[:80]))
    return Project.objects.get(slug="demo")


def run_to_its_end(project, **wish):
    ada = User.objects.get(email=DEMO_LOGINS[0].email)
    run, _ = launch_run(project=project, author=ada, launch=Launch(base_model="tiny", **wish))
    assert worker.work_once("test")
    run = Run.objects.select_related("produced", "snapshot").get(pk=run.pk)
    told = list(run.events.filter(type__in=["log", "error"]).values_list("data", flat=True))
    assert run.state == "succeeded", (run.failure, told)
    return run


@pytest.mark.timeout(600)
def test_rewrites_and_taps_become_a_policy_that_comparisons_take_further(demo):
    waiting = Task.objects.filter(project=demo, state="open", kind="spans").count()
    tuned = run_to_its_end(demo, recipe="sft", config={**SHORT, **ANSWERS})
    assert tuned.produced.kind == "policy"
    assert {"rewrite", "reaction", "verdict", "response"} <= {*tuned.snapshot.counts["rows"]}
    assert "dev_loss" in tuned.produced.metrics or "test_loss" in tuned.produced.metrics
    answers = Response.objects.filter(project=demo, model_version=tuned.produced.pk)
    assert 0 < answers.count() <= 2
    assert Task.objects.filter(project=demo, state="open", kind="spans").count() == waiting + answers.count()

    # the fine-tuned policy is the reference, so that the loss begins at ln 2
    alone = {"rewrites": True, "sft_weight": 0.0}  # the laptop's preset adds the chosen answers' own likelihood
    aligned = run_to_its_end(
        demo, recipe="dpo", inputs={"policy": tuned.produced.pk}, config={**SHORT, **ANSWERS, **alone}
    )
    assert aligned.produced.parent == tuned.produced
    first = aligned.events.filter(type="metrics").order_by("pk").first()
    assert first.data["values"]["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert Response.objects.filter(project=demo, model_version=aligned.produced.pk).exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("source", ["pairs", "ratings", "reactions"])
def test_what_people_said_becomes_a_reward_model(demo, source):
    judge = run_to_its_end(demo, recipe="reward_model", config={**SHORT, "source": source})
    assert judge.produced.kind == "reward_model"
    assert judge.produced.metrics[source] > 10
    card = json.loads((settings.DATA_DIR / judge.produced.path / "redpen.json").read_text())
    assert card["source"] == source
    assert judge.events.filter(type="sample").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_taps_and_verdicts_become_a_policy_by_kto(demo):
    policy = run_to_its_end(demo, recipe="dpo", config={**SHORT, **ANSWERS, "loss": "kto", "good_rating": 0.5})
    assert policy.produced.metrics["answers"] > 10
    assert "dev_auroc" in policy.produced.metrics or "test_auroc" in policy.produced.metrics
