"""ppo learns what its judge likes; its advantages are the equation's, and critic and policy leave each other alone."""

import json
import math

import pytest
import torch

from tests.recipes.practice import QUICK, adapter_of, judge_by, practise, quality_told, starts_with_hi, told_after
from tests.recipes.test_grpo import stop_at
from training import engine
from training.engine.heads import ScoreHead
from training.engine.policy import Lora, Policy
from training.recipes import ppo, valuing
from training.recipes.answers import Answers, Gap
from training.recipes.asking import Ask
from training.recipes.context import Cancelled, Events, RunContext
from training.recipes.registry import get

NAN = float("nan")
SHORT = {"prompts": 12, "samples": 4, "epochs": 2, "lr": 6e-3, "missing_stop": 0.0, "beta": 0.01, "vf": 0.1}


@pytest.fixture
def run_of(tmp_path, base, snapshot, monkeypatch):
    def practised(place="run", **config):
        return practise(tmp_path / place, "ppo", base, snapshot, monkeypatch, **{**SHORT, **config})

    return practised


# --- the whole recipe, in short


def test_the_reward_rises_with_a_critic_on_the_policys_own_states(run_of):
    run = run_of(critic="head", critic_lr=1e-2)
    rewards = run.figures("reward")
    assert rewards[-1] > rewards[0] + 0.4
    assert run.figures("kl/answer")[0] == run.figures("kl/reference")[0] == 0.0
    assert run.figures("kl/answer")[-1] > 0
    assert run.figures("value")[-1] > run.figures("value")[0] + 0.2  # it has come to expect the reward
    watched = {"value/explained", "value/clipped", "value/loss", "clipped/low", "clipped/high", "ratio", "gap/mean"}
    assert watched <= set(run.of("metrics")[1]["values"])
    assert {file.name for file in run.artifact.iterdir()} >= {"adapter_model.safetensors", "value_head.safetensors"}
    assert "advantage" in run.of("sample")[0]["data"]["answers"][0]


def test_a_run_that_goes_on_is_the_unbroken_one_bit_for_bit_its_critic_and_its_pull_with_it(
    tmp_path, base, snapshot, monkeypatch, run_of
):
    settings = {"steps": 3, "prompts": 4, "samples": 2, "critic": "adapter", "kl_target": 0.01, "kl_horizon": 20}
    whole = run_of("whole", held_out=0, **settings)
    assert len(set(whole.figures("beta"))) == 3
    broken = tmp_path / "broken"
    broken.mkdir()
    wanted = {**QUICK, **SHORT, **settings, "held_out": 0, "checker": judge_by(monkeypatch, starts_with_hi)}
    context = RunContext(
        directory=broken, events=Events(broken / "events.jsonl"), base_model=base, snapshot=snapshot, checkpoint_steps=1
    )
    stop_at(context, step=2)
    with pytest.raises(Cancelled):
        get("ppo").train(context, get("ppo").config(wanted))
    second = run_of("second", held_out=0, resume_from=[broken], **settings)
    assert told_after(second, 0) == told_after(whole, 2)
    for folder in (".", "critic"):
        mine, theirs = (weights(run.artifact / folder / "adapter_model.safetensors") for run in (second, whole))
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    mine, theirs = (weights(run.artifact / "value_head.safetensors") for run in (second, whole))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert json.loads((second.artifact / "redpen.json").read_text())["critic"]["kind"] == "adapter"
    assert adapter_of(second).keys() == adapter_of(whole).keys()


def weights(path):
    from safetensors.torch import load_file

    return load_file(path)


# --- one step, on answers made by hand


@pytest.fixture(scope="module", params=["head", "adapter"])
def pair(request, base):
    """A policy that has moved from its reference, with a critic that has an opinion."""
    own = request.param == "adapter"
    policy = Policy.load(base, lora=Lora(rank=4), adapters=("critic",) if own else (), seed=0)
    policy.model.eval()
    torch.manual_seed(1)
    head = ScoreHead(policy.model.get_input_embeddings().weight.shape[1], ("value",), bias=True)
    critic = valuing.Critic(policy, head, own=own)
    with torch.no_grad():
        for parameter in [*policy.parameters, *critic.parameters]:
            parameter.add_(0.02 * torch.randn_like(parameter))
    return policy, critic


@pytest.fixture(scope="module")
def answers(pair):
    policy, _ = pair
    asks = []
    for number, question in enumerate(["How long is the warranty?", "Where is the tank?"]):
        messages = [{"role": "user", "content": question}]
        ids = engine.scoring.prompt_ids(policy.tokenizer, messages, [], passage_tokens=0)
        asks.append(Ask(f"p{number}", messages, [], ids))
    sampling = engine.rollouts.Sampling(max_tokens=6, temperature=0.8)
    drawn = engine.rollouts.sample(policy, [ask.ids for ask in asks], 2, sampling=sampling, seed=3)
    rewards = torch.tensor([[1.0, -0.5], [NAN, 0.25]], dtype=torch.float64)
    return Answers(asks, [drawn[:2], drawn[2:]], rewards, {"checker": rewards})


CONFIG = {"temperature": 0.8, "max_new_tokens": 6, "lam": 0.9, "gamma": 0.97, "beta": 0.2, "checker": "support"}


def test_advantages_and_returns_are_those_of_the_equation(pair, answers):
    policy, critic = pair
    config = ppo.Config(**CONFIG, critic="adapter" if critic.own else "head")
    (units,), told = ppo.experience(config, policy, critic, answers, beta=0.2)
    rows = [row for unit in units for row in unit]
    assert len(rows) == 3  # the answer without a verdict is left out
    raw = []
    for row in rows:
        old, reference, values = (row.of_tokens[name] for name in ("old", "reference", "values"))
        score = answers.rewards[int(row.of_row["group"]), int(row.of_row["answer"])].item()
        rewards = [-0.2 * (now - then) for now, then in zip(old, reference, strict=True)]
        rewards[-1] += score
        advantage, later, found = 0.0, 0.0, []
        for reward, value in zip(reversed(rewards), reversed(values), strict=True):
            advantage = reward + 0.97 * later - value + 0.97 * 0.9 * advantage
            later = value
            found.append(advantage)
        found.reverse()
        raw += found
        expected = [a + v for a, v in zip(found, values, strict=True)]
        assert row.of_tokens["returns"] == pytest.approx(expected, abs=1e-5)
    mean = sum(raw) / len(raw)
    deviation = math.sqrt(sum((one - mean) ** 2 for one in raw) / (len(raw) - 1))
    whitened = [value for row in rows for value in row.of_tokens["advantages"]]
    assert whitened == pytest.approx([(one - mean) / deviation for one in raw], abs=1e-4)
    assert told["kl/answer"] != 0


def test_phrases_are_paid_where_they_end_and_the_rest_at_the_end(pair, answers):
    policy, critic = pair
    some = Answers(answers.asks, answers.groups, answers.rewards, answers.parts)
    text = some.groups[0][0].text
    some.places = [[[(1, -0.75), (len(text), 0.5)], []], [[], []]]
    rows = [row for unit in some.units(9999, leave_out=~some.counted()) for row in unit]
    ragged = engine.ragged.Ragged.of_lengths([sum(row.trained) for row in rows])
    flat = ppo.paid(ppo.Config(**CONFIG, pay="spans"), policy, some, rows, ragged)
    first, second, third = flat.split([sum(row.trained) for row in rows])
    assert first[0] == -0.75
    assert first.sum().item() == pytest.approx(1.0)
    assert first[1:-2].abs().sum() == 0
    assert second[-1] == -0.5
    assert second[:-1].abs().sum() == third[:-1].abs().sum() == 0
    at_the_end = ppo.paid(ppo.Config(**CONFIG), policy, some, rows, ragged).split([sum(row.trained) for row in rows])
    assert at_the_end[0][-1] == 1.0
    assert at_the_end[0][:-1].abs().sum() == 0


@pytest.mark.parametrize("minibatches", [1, 2])
def test_before_the_first_update_the_ratio_is_exactly_1_and_no_value_has_moved(pair, answers, minibatches):
    policy, critic = pair
    config = ppo.Config(**CONFIG, minibatches=minibatches)
    parts, _ = ppo.experience(config, policy, critic, answers, beta=0.2)
    assert len(parts) == minibatches
    for part in parts:
        gap = Gap()
        for pack in engine.packs.micro_batches(part, tokens=config.budget):
            loss = valuing.loss_of(config, policy, critic, pack, gap)
            count = loss.count.item()
            assert loss.metrics["ratio"].item() == count
            assert loss.metrics["kl/old"].item() == loss.metrics["value/clipped"].item() == 0.0
            assert pack.flat("values").tolist() == valuing.read(config, policy, critic, pack)[1].tolist()
        assert gap.figures()["gap/p95"] < 1e-4


def test_critic_and_policy_leave_each_other_alone(pair, answers):
    policy, critic = pair

    def moved(**changes):
        config = ppo.Config(**CONFIG, **changes)
        (units,), _ = ppo.experience(config, policy, critic, answers, beta=0.2)
        everything = [*policy.parameters, *critic.parameters]
        for parameter in everything:
            parameter.grad = None
        (pack,) = engine.packs.micro_batches(units, tokens=config.budget)
        valuing.loss_of(config, policy, critic, pack, Gap()).total.backward()
        return [
            torch.cat(
                [(parameter.grad if parameter.grad is not None else 0 * parameter).flatten() for parameter in some]
            )
            for some in (policy.parameters, critic.parameters)
        ]

    of_policy, of_critic = moved(vf=0.0)
    assert of_critic.abs().max() == 0
    stronger, much = moved(vf=100.0)
    assert torch.equal(stronger, of_policy)
    assert much.abs().max() > 1e-3


def test_an_answer_that_was_cut_off_earns_less(base, snapshot, tmp_path, monkeypatch):
    run = practise(
        tmp_path, "ppo", base, snapshot, monkeypatch, **{**SHORT, "steps": 1, "missing_stop": 2.0, "held_out": 0}
    )
    assert run.figures("truncated") == [1.0]
    assert run.figures("reward")[0] == pytest.approx(run.figures("reward/checker")[0] - 2.0)


# --- the full loop


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_reward_rises_and_the_true_quality_is_told(tmp_path, base, snapshot, span_reward_model, world, monkeypatch):
    """The world knows how good an answer really is; the policy is paid by a model that only saw marks."""
    config = {
        "steps": 20,
        "prompts": 16,
        "samples": 4,
        "max_new_tokens": 120,
        "temperature": 0.7,
        "reduction": "phrases",
        "epochs": 2,
        "beta": 0.005,
        "critic": "head",
        "critic_lr": 1e-2,
        "value_clip": None,
        "lr": 1e-3,
        "held_out": 0,
    }
    models = {"span_reward_model": span_reward_model.artifact}
    run = practise(tmp_path, "ppo", base, snapshot, monkeypatch, check=None, models=models, **config)
    rewards = run.figures("reward")
    quality_told("ppo", world, base, run.artifact, rewards)
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.15


def test_a_step_without_any_verdict_learns_nothing_and_goes_on(run_of):
    run = run_of(check=lambda ask, text: None, steps=2, prompts=2, samples=2, held_out=0, new_answers=0)
    assert run.figures("unjudged") == [1.0, 1.0]
    assert run.figures("kl/answer") == [0.0, 0.0]
