"""The loop closes: marks, snapshot, reward model, policy, new answers in the queue. With real children and torch.

The models are too small and read too little to be good; that learning works is the recipes' tests' business.
"""

import json
import threading
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from django.conf import settings

from annotation.actions.tasks import deal_next
from annotation.models import Response, Task
from redpen.accounts.demo import DEMO_LOGINS
from redpen.accounts.models import Project, User
from tests.running import wait_for
from tests.tiny_base import copy_tiny_base
from tests.training.test_worker import due_now, left_behind
from training.actions.base_models import ensure_packaged
from training.actions.runs import Launch, cancel_run, launch_run
from training.demo import fill_demo
from training.models import Run
from training.runs import worker
from training.worlds.demo import demo_content

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def base(django_db_setup):
    return copy_tiny_base(settings.DATA_DIR / "base" / "tiny")


@pytest.fixture
def demo(transactional_db, base):
    ensure_packaged()
    content = demo_content(0)
    fill_demo(replace(content, reviews=content.reviews[:90], preferences=content.preferences[:10]))
    return Project.objects.get(slug="demo")


def run_to_its_end(project, **wish):
    ada = User.objects.get(email=DEMO_LOGINS[0].email)
    run, _ = launch_run(project=project, author=ada, launch=Launch(base_model="tiny", **wish))
    assert worker.work_once("test")
    run = Run.objects.select_related("produced", "snapshot").get(pk=run.pk)
    told = list(run.events.filter(type__in=["log", "error"]).values_list("data", flat=True))
    assert run.state == "succeeded", (run.failure, told)
    return run


@pytest.mark.timeout(280)
def test_marks_become_a_reward_model_that_becomes_a_policy_whose_answers_wait_to_be_marked(demo):
    judge = run_to_its_end(
        demo,
        recipe="span_reward_model",
        config={"fit": "steps", "epochs": 1, "passage_tokens": 0, "echo": False, "max_tokens": 1024},
    )
    assert judge.produced.kind == "span_reward_model"
    assert "dev_auroc_bad" in judge.produced.metrics or "test_auroc_bad" in judge.produced.metrics
    assert judge.events.filter(type="metrics").count() >= judge.total_steps > 0
    card = json.loads((settings.DATA_DIR / judge.produced.path / "redpen.json").read_text())
    assert {label["key"] for label in card["labels"]} >= {"invented-fact"} or card["labels"]

    waiting = Task.objects.filter(project=demo, state="open", kind="spans").count()
    policy = run_to_its_end(
        demo,
        recipe="raft",
        inputs={"span_reward_model": judge.produced.pk},
        config={"rounds": 1, "prompts": 4, "samples": 2, "max_new_tokens": 24, "held_out": 2, "new_answers": 3},
    )
    assert policy.produced.kind == "policy"
    answers = Response.objects.filter(project=demo, model_version=policy.produced.pk)
    assert 0 < answers.count() <= 3
    assert all(len(one.token_ids) == len(one.token_logprobs) > 0 for one in answers)
    assert Task.objects.filter(project=demo, state="open", kind="spans").count() == waiting + answers.count()

    # the newest model's answers are dealt first, to anybody who labels
    ben = User.objects.get(email=next(login.email for login in DEMO_LOGINS if login.role == "annotator"))
    dealt = deal_next(user=ben, project=demo, kind="spans")
    assert dealt.assignment.task.response in answers


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_real_child_that_is_killed_or_cancelled_leaves_nothing(demo):
    """Behind accelerate: the process that trains is a child of the one that the worker started."""
    ada = User.objects.get(email=DEMO_LOGINS[0].email)
    wish = Launch(
        recipe="span_reward_model", base_model="tiny", config={"fit": "steps", "epochs": 50, "passage_tokens": 0}
    )
    run, _ = launch_run(project=demo, author=ada, launch=wish)

    def trainer():
        return [
            process
            for process in map(psutil.Process, left_behind(run))
            if "training.launch" in process.cmdline() and not any("accelerate" in part for part in process.cmdline())
        ]

    def attempt(then):
        due_now()
        before = Run.objects.get(pk=run.pk).attempt
        thread = threading.Thread(target=worker.work_once, args=("test",), daemon=True)
        thread.start()
        wait_for(lambda: run.events.filter(type="metrics", attempt__gt=before).exists(), 200)
        then()
        thread.join(60)
        assert not thread.is_alive()
        assert left_behind(run) == []
        run.refresh_from_db()

    attempt(lambda: trainer()[0].kill())
    assert run.state == "queued"
    attempt(lambda: min(map(psutil.Process, left_behind(run)), key=lambda one: one.create_time()).kill())
    assert run.state == "queued"
    attempt(lambda: trainer()[0].kill())
    assert run.state == "failed"
    assert "was killed (signal 9)" in run.failure["message"]

    run, _ = launch_run(project=demo, author=ada, launch=wish)
    attempt(lambda: cancel_run(run=run, author=ada))
    assert run.state == "cancelled"
    log = (settings.DATA_DIR / "runs" / str(run.pk) / "attempt-1" / "events.jsonl").read_text().splitlines()
    assert json.loads(log[-1])["type"] == "cancelled"  # it stopped by itself, between two steps
