"""rloo learns what its judge likes, and its gradient is the leave-one-out one, to the last term."""

import pytest
import torch

from tests.recipes.practice import adapter_of, practise, quality_told
from training import engine
from training.engine.policy import Lora, Policy
from training.recipes import rloo
from training.recipes.answers import Answers, Gap, with_advantages
from training.recipes.asking import Ask


@pytest.fixture
def run_of(tmp_path, base, snapshot, monkeypatch):
    def practised(place="run", **config):
        return practise(tmp_path / place, "rloo", base, snapshot, monkeypatch, **config)

    return practised


def test_the_reward_rises_and_the_distance_to_the_first_model_is_paid_for(run_of):
    run = run_of(beta=0.01)
    rewards = run.figures("reward/checker")
    assert rewards[-1] > rewards[0] + 0.5
    paid = run.figures("reward/kl")
    assert paid[0] == 0.0  # exactly, before anything was learned
    assert paid[-1] < 0
    assert run.figures("ratio") == [1.0] * len(run.figures("ratio"))  # each batch is used once
    assert run.figures("kl/reference")[-1] > 0


def test_equal_rewards_change_nothing(run_of, base):
    run = run_of(check=lambda ask, text: 0.5, steps=1, held_out=0, new_answers=0)
    assert run.figures("silent_groups") == [1.0]
    fresh = Policy.load(base, lora=Lora(rank=8), seed=0).state_dict()
    saved = adapter_of(run)
    assert all(torch.equal(saved[name.replace(".default", "")], value) for name, value in fresh.items())


def test_a_single_answer_a_prompt_is_refused():
    with pytest.raises(ValueError, match="no siblings"):
        rloo.Config(samples=1)


def test_the_gradient_is_that_of_the_equation(base):
    policy = Policy.load(base, lora=Lora(rank=4), seed=0)
    messages = [{"role": "user", "content": "How long is the warranty?"}]
    ask = Ask("p", messages, [], engine.scoring.prompt_ids(policy.tokenizer, messages, [], passage_tokens=0))
    sampling = engine.rollouts.Sampling(max_tokens=6, temperature=0.9)
    group = engine.rollouts.sample(policy, [ask.ids], 3, sampling=sampling, seed=1)
    rewards = torch.tensor([[1.0, 0.0, 0.4]], dtype=torch.float64)
    answers = Answers([ask], [group], rewards, {"checker": rewards})
    config = rloo.Config(temperature=0.9, beta=0.0)

    _, advantages = rloo.credited(config, policy, answers)
    units = with_advantages(answers.units(config.budget), advantages)
    (pack,) = engine.packs.micro_batches(units, tokens=config.budget)
    loss = rloo.loss_of(config, policy, pack, Gap(), 1.0)
    (loss.total / loss.count).backward()
    mine = torch.cat([parameter.grad.flatten() for parameter in policy.parameters])

    for parameter in policy.parameters:
        parameter.grad = None
    expected = 0.0
    for place, one in enumerate(group):
        ids = torch.tensor([ask.ids + one.ids])
        logits = policy.model(ids).logits[0, len(ask.ids) - 1 : -1] / 0.9
        logprob = logits.log_softmax(-1).gather(-1, torch.tensor(one.ids)[:, None]).sum()
        others = [rewards[0, other].item() for other in range(3) if other != place]
        expected = expected - (rewards[0, place].item() - sum(others) / 2) * logprob / 3
    expected.backward()
    theirs = torch.cat([parameter.grad.flatten() for parameter in policy.parameters])
    torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-6)
    assert theirs.abs().max() > 1e-3


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_true_quality_rises(tmp_path, base, snapshot, span_reward_model, world, monkeypatch):
    """The world knows how good an answer really is; the policy is paid by a model that only saw marks."""
    config = {
        "steps": 20,
        "prompts": 8,
        "samples": 8,
        "max_new_tokens": 120,
        "temperature": 0.7,
        "reduction": "phrases",
        "missing_stop": 1.0,
        "beta": 0.005,
        "lr": 1e-3,
        "held_out": 0,
    }
    models = {"span_reward_model": span_reward_model.artifact}
    run = practise(tmp_path, "rloo", base, snapshot, monkeypatch, check=None, models=models, **config)
    rewards = run.figures("reward")
    rise = quality_told("rloo", world, base, run.artifact, rewards)
    assert rise > 0.02
