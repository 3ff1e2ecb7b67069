"""The recipes that learn from their own answers, through the platform: launched, worked, published. With real children
and torch; whether learning works is the recipes' tests' business.
"""

import pytest
from django.conf import settings

from annotation.models import Response
from tests.training.test_loop import base, demo, run_to_its_end  # noqa: F401 - fixtures

JUDGE = {"epochs": 1, "passage_tokens": 0, "echo": False, "max_tokens": 1024}
SMALL = {
    "prompts": 3,
    "samples": 2,
    "max_new_tokens": 24,
    "passage_tokens": 0,
    "held_out": 2,
    "new_answers": 2,
    "empty": 1.0,
}
SHORT = {"grpo": {"steps": 2}, "rloo": {"steps": 2}, "ppo": {"steps": 2, "critic": "adapter"}}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_marks_become_a_judge_and_each_online_recipe_learns_from_it(demo):  # noqa: F811
    judge = run_to_its_end(demo, recipe="span_reward_model", config=JUDGE).produced
    for recipe, short in {**SHORT, "rejection_sampling": {"epochs": 1}}.items():
        if recipe == "rejection_sampling":
            short = {**short, "prompts": 8, "keep": "above", "threshold": -50.0, "max_new_tokens": 80}
        run = run_to_its_end(
            demo, recipe=recipe, inputs={"span_reward_model": judge.pk}, config={**SMALL, **short}, name=recipe
        )
        assert run.produced.kind == "policy"
        assert "held_out_reward" in run.produced.metrics
        assert (settings.DATA_DIR / run.produced.path / "adapter_model.safetensors").exists()
        assert run.events.filter(type="sample").exists()
        answers = Response.objects.filter(project=demo, model_version=run.produced.pk)
        assert 0 < answers.count() <= 2
        assert all(len(one.token_ids) == len(one.token_logprobs) > 0 for one in answers)
    critic = settings.DATA_DIR / run_path(demo, "ppo")
    assert (critic / "value_head.safetensors").exists()
    assert (critic / "critic" / "adapter_model.safetensors").exists()


def run_path(project, recipe):
    from training.models import Run

    return Run.objects.select_related("produced").get(project=project, recipe=recipe).produced.path
