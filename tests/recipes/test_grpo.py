"""grpo learns what its judge likes, what teaches nothing costs nothing, and the mechanism is exact."""

import json

import pytest
import torch

from tests.recipes.practice import QUICK, adapter_of, judge_by, practise, quality_told, starts_with_hi, told_after
from training import engine
from training.engine.objectives import Loss
from training.engine.policy import Lora, Policy
from training.engine.rollouts import Sample
from training.recipes import grpo
from training.recipes.answers import Answers, Gap, correlation, with_advantages
from training.recipes.asking import Ask
from training.recipes.context import Cancelled, Events, RunContext
from training.recipes.registry import get

NAN = float("nan")


@pytest.fixture
def run_of(tmp_path, base, snapshot, monkeypatch):
    def practised(place="run", **config):
        return practise(tmp_path / place, "grpo", base, snapshot, monkeypatch, **config)

    return practised


# --- the whole recipe, in short


def test_the_reward_rises_and_is_told_with_all_that_a_person_watches(run_of):
    run = run_of(beta=0.001)
    rewards = run.figures("reward")
    assert rewards[-1] > rewards[0] + 0.5
    assert run.figures("held_out_reward")[-1] > run.figures("held_out_reward")[0] + 0.5
    (first, *_) = [event["values"] for event in run.of("metrics") if "loss" in event["values"]]
    watched = "reward reward_std silent_groups kl/reference clipped/low clipped/high answer_tokens truncated entropy"
    assert set(watched.split()) <= set(first)
    assert {"reward/checker", "reward_length_correlation", "gap/mean", "gap/p95", "gap/outside", "lr"} <= set(first)
    assert (first["ratio"], first["kl/reference"], first["kl/old"]) == (1.0, 0.0, 0.0)  # exactly, at the first step
    assert first["gap/mean"] < 1e-4
    assert len(run.of("response")) == 2
    shown = run.of("sample")[0]["data"]["answers"]
    assert {"text", "reward", "advantage"} <= set(shown[0])
    card = json.loads((run.artifact / "redpen.json").read_text())
    assert card["kind"] == "policy"
    assert card["metrics"]["held_out_reward"] == run.figures("held_out_reward")[-1]


@pytest.mark.parametrize(
    "variant",
    [
        {"loss": "dapo", "clip_high": 0.28, "dynamic": 1, "truncated": "score", "overlong": 2},
        {"loss": "dr_grpo", "scale": "none", "beta": 0.02, "kl": "reward", "minibatches": 2},
        {"loss": "gspo", "clip_low": 3e-4, "clip_high": 4e-4, "updates": 2, "scale": "batch"},
        {"loss": "grpo", "updates": 2, "minibatches": 2, "importance_cap": 2.0, "beta": 0.01},
    ],
    ids=lambda variant: variant["loss"],
)
def test_every_variant_learns(run_of, variant):
    run = run_of(steps=4, held_out=0, new_answers=0, **variant)
    rewards = run.figures("reward/checker")
    assert max(rewards[2:]) > rewards[0] + 0.2


def test_equal_rewards_teach_nothing_and_cost_no_forward_pass(run_of, base, monkeypatch):
    read = []
    true = engine.logprobs.completion_logprobs
    monkeypatch.setattr(
        engine.logprobs, "completion_logprobs", lambda model, pack, **how: read.append(pack) or true(model, pack, **how)
    )
    run = run_of(check=lambda ask, text: 1.0, steps=2, held_out=0, new_answers=0)
    assert run.figures("silent_groups") == [1.0, 1.0]
    assert read == []
    fresh = Policy.load(base, lora=Lora(rank=8), seed=0).state_dict()
    saved = adapter_of(run)
    assert all(torch.equal(saved[name.replace(".default", "")], value) for name, value in fresh.items())


def test_answers_without_a_verdict_leave_the_mean_and_are_not_learned_from(run_of, monkeypatch):
    seen = []
    true = grpo.improve

    def watch(run, config, policy, loop, answers, advantages):
        seen.append((answers.rewards, advantages, answers.units(999, leave_out=answers.rewards.isnan())))
        return true(run, config, policy, loop, answers, advantages)

    monkeypatch.setattr(grpo, "improve", watch)
    run = run_of(check=lambda ask, text: None if "e" in text else starts_with_hi(ask, text), steps=1, held_out=0)
    ((rewards, advantages, units),) = seen
    unjudged = rewards.isnan()
    assert 0 < unjudged.double().mean() < 1
    assert run.figures("unjudged") == [pytest.approx(unjudged.double().mean().item())]
    assert (advantages[unjudged] == 0).all()
    assert sum(len(unit) for unit in units) == int((~unjudged).sum())


def test_dynamic_sampling_draws_other_prompts_until_the_step_is_full_or_the_tries_are_used_up(run_of):
    run = run_of(steps=1, dynamic=20, held_out=0, new_answers=0)
    assert run.figures("silent_groups") == [0.0]
    assert run.figures("first_silent_groups")[0] > 0
    assert run.figures("drawn_again")[0] > 0
    hopeless = run_of("hopeless", check=lambda ask, text: 0.0, steps=1, dynamic=3, held_out=0, new_answers=0)
    assert hopeless.figures("drawn_again") == [3.0]
    assert hopeless.figures("silent_groups") == [1.0]


def test_a_run_that_was_stopped_and_taken_up_again_is_the_unbroken_one_bit_for_bit(
    tmp_path, base, snapshot, monkeypatch, run_of
):
    settings = {"steps": 4, "prompts": 3, "samples": 4, "updates": 2, "beta": 0.01, "dynamic": 1}
    whole = run_of("whole", **settings)
    config = get("grpo").config({**QUICK, **settings, "checker": judge_by(monkeypatch, starts_with_hi)})
    broken = tmp_path / "broken"
    broken.mkdir()
    context = RunContext(
        directory=broken, events=Events(broken / "events.jsonl"), base_model=base, snapshot=snapshot, checkpoint_steps=1
    )
    stop_at(context, step=2)
    with pytest.raises(Cancelled):
        get("grpo").train(context, config)
    second = run_of("second", resume_from=[broken], **settings)
    assert second.of("resumed")[0]["step"] == 2
    assert told_after(second, 0) == told_after(whole, 2)
    mine, theirs = adapter_of(second), adapter_of(whole)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert [one["data"] for one in second.of("response")] == [one["data"] for one in whole.of("response")]


def stop_at(context, step):
    """Ask the run to stop in the middle of a step: it ends before the next one."""
    true = context.metrics

    def metrics(number, total, **values):
        true(number, total, **values)
        if number == step:
            context.stop.set()

    context.metrics = metrics


# --- one step, on answers made by hand


@pytest.fixture(scope="module")
def policy(base):
    made = Policy.load(base, lora=Lora(rank=4), seed=0)
    torch.manual_seed(1)
    with torch.no_grad():  # moved a little from its reference
        for parameter in made.parameters:
            parameter.add_(0.02 * torch.randn_like(parameter))
    return made


@pytest.fixture(scope="module")
def answers(policy):
    """Three prompts with four answers each; the second prompt's all earn the same."""
    asks, groups = [], []
    for number, question in enumerate(["How long is the warranty?", "Where is the tank?", "Who are you?"]):
        messages = [{"role": "user", "content": question}]
        ids = engine.scoring.prompt_ids(policy.tokenizer, messages, [], passage_tokens=0)
        asks.append(Ask(f"p{number}", messages, [], ids))
    sampling = engine.rollouts.Sampling(max_tokens=7, temperature=0.8)
    drawn = engine.rollouts.sample(policy, [ask.ids for ask in asks], 4, sampling=sampling, seed=3)
    groups = [[one for one in drawn if one.prompt == place] for place in range(3)]
    rewards = torch.tensor([[1.0, 0.0, 0.5, NAN], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]], dtype=torch.float64)
    return Answers(asks, groups, rewards, {"checker": rewards})


def gradients(policy, config, answers, *, skip=True, tokens=None):
    """Of the step's loss, divided by its count, and the metrics."""
    config = grpo.Config(**{"temperature": 0.8, "max_new_tokens": 7, "checker": "support", **config})
    answers, advantages = grpo.credited(config, policy, answers)
    counted = answers.counted()
    learned = counted & ~answers.silent if skip else counted
    share = answers.share(learned, of=counted, by_tokens=config.loss == "dapo")
    units = with_advantages(answers.units(tokens or config.budget, leave_out=~learned), advantages)
    units = grpo.prepared(config, policy, units)
    for parameter in policy.parameters:
        parameter.grad = None
    total, count, metrics, gap = 0.0, 0.0, {}, Gap()
    for pack in engine.packs.micro_batches(units, tokens=tokens or config.budget):
        loss = grpo.loss_of(config, policy, pack, gap, share)
        assert isinstance(loss, Loss)
        loss.total.backward()
        total, count = total + loss.total.item(), count + loss.count.item()
        for name, value in loss.metrics.items():
            metrics[name] = metrics.get(name, 0.0) + value.item()
    found = torch.cat([parameter.grad.flatten() / count for parameter in policy.parameters])
    return total / count, found, {name: value / count for name, value in metrics.items()}, gap.figures()


LOSSES = [{"loss": "grpo"}, {"loss": "dapo"}, {"loss": "dr_grpo"}, {"loss": "gspo"}]


@pytest.mark.parametrize("config", LOSSES, ids=lambda config: config["loss"])
def test_groups_that_earned_the_same_count_as_the_zeros_they_are(policy, answers, config):
    loss, skipped, *_ = gradients(policy, config, answers)
    whole, computed, *_ = gradients(policy, config, answers, skip=False)
    assert loss == pytest.approx(whole, abs=1e-6)
    torch.testing.assert_close(skipped, computed, rtol=1e-4, atol=1e-7)
    assert skipped.abs().max() > 1e-4


@pytest.mark.parametrize("config", LOSSES, ids=lambda config: config["loss"])
def test_the_split_into_packs_changes_nothing(policy, answers, config):
    longest = max(len(ask.ids) for ask in answers.asks) + 7
    loss, one_by_one, *_ = gradients(policy, config, answers, tokens=longest)
    whole, together, *_ = gradients(policy, config, answers)
    assert loss == pytest.approx(whole, abs=1e-6)
    torch.testing.assert_close(one_by_one, together, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("config", [{"updates": 2}, {"minibatches": 2}, {}])
def test_the_ratio_is_exactly_1_when_answers_are_read_for_the_first_time(policy, answers, config):
    _, _, metrics, gap = gradients(policy, {**config, "loss": "dapo"}, answers)
    assert metrics["ratio"] == 1.0
    assert metrics["kl/old"] == metrics["clipped/low"] == metrics["clipped/high"] == 0.0
    assert 0 < gap["gap/mean"] < 1e-4  # the sampler reads token by token: near, not the same


def test_the_distance_to_the_reference_is_exactly_0_before_the_first_step(base, answers):
    fresh = Policy.load(base, lora=Lora(rank=4), seed=0)
    _, _, metrics, _ = gradients(fresh, {"beta": 0.1}, answers)
    assert metrics["kl/reference"] == 0.0
    config = grpo.Config(beta=0.1, kl="reward", temperature=0.8)
    with_kl, _ = grpo.credited(config, fresh, answers)
    assert (with_kl.parts["kl"] == 0).all()


def test_the_kl_in_the_reward_is_the_sum_over_the_answer(policy, answers):
    config = grpo.Config(beta=0.5, kl="reward", temperature=0.8)
    with_kl, _ = grpo.credited(config, policy, answers)
    units = [row for unit in answers.units(9999) for row in unit]
    expected = []
    for row in units:
        pack = engine.packs.lay_out([row])
        with torch.no_grad():
            now = engine.logprobs.completion_logprobs(policy.model, pack, temperature=0.8).values.sum()
        with policy.as_reference() as reference:
            then = engine.logprobs.completion_logprobs(reference, pack, temperature=0.8).values.sum()
        expected.append(-0.5 * (now - then).item())
    assert with_kl.parts["kl"].flatten().tolist() == pytest.approx(expected, abs=1e-4)
    assert max(map(abs, expected)) > 0.001


def test_training_divides_the_logits_by_the_sampling_temperature_as_the_sampler_did(policy, answers):
    _, _, _, gap = gradients(policy, {}, answers)
    assert gap["gap/p95"] < 1e-4
    _, _, _, other = gradients(policy, {"temperature": 1.0}, answers)
    assert other["gap/p95"] > 0.02


def test_answers_that_were_cut_off_are_masked_but_stay_in_the_mean(policy, answers, monkeypatch):
    groups = [[cut(one) if place == 0 else one for place, one in enumerate(group)] for group in answers.groups]
    some = Answers(answers.asks, groups, answers.rewards, answers.parts)
    learned = []
    monkeypatch.setattr(
        grpo, "learn", lambda run, loop, policy, updates, objective, tokens: learned.extend(updates[0]) or {}
    )
    monkeypatch.setattr(grpo, "watched", lambda *args: {})
    config = grpo.Config(truncated="mask")
    _, advantages = grpo.credited(config, policy, some)
    assert advantages[0, 0] != 0
    grpo.improve(None, config, policy, None, some, advantages)
    rows = [row for unit in learned for row in unit]
    finished = [one.finished for one in some.flat]
    assert not all(finished)
    names = {row.name for row in rows}
    assert "prompt p0, answer 1" not in names
    assert names <= {f"prompt p{k // 4}, answer {k % 4 + 1}" for k, done in enumerate(finished) if done}


def cut(sample):
    return Sample(sample.prompt, sample.seed, sample.ids, sample.logprobs, sample.text, finished=False)


def test_tokens_whose_sampler_was_too_sure_weigh_less(policy, answers):
    shifted = [[bolder(one) for one in group] for group in answers.groups]
    some = Answers(answers.asks, shifted, answers.rewards, answers.parts)
    _, plain, _, gap = gradients(policy, {"loss": "dapo"}, some)
    _, weighed, *_ = gradients(policy, {"loss": "dapo", "importance_cap": 2.0}, some)
    assert gap["gap/outside"] == 1.0
    torch.testing.assert_close(weighed, plain * 0.5, rtol=1e-3, atol=1e-7)


def bolder(sample):
    """The same as if the sampler had found each token twice as likely as the trainer does."""
    surer = [value + float(torch.tensor(2.0).log()) for value in sample.logprobs]
    return Sample(sample.prompt, sample.seed, sample.ids, surer, sample.text, sample.finished)


def test_options_that_do_not_go_together_are_refused():
    for wrong in (
        {"loss": "gspo", "importance_cap": 2.0},
        {"loss": "gspo", "beta": 0.1},
        {"samples": 1},
        {"weights": "span_reward_model: 3"},
        {"checker": "nobody"},
        {"top_p": 0.9},
        {"top_k": 40},
    ):
        with pytest.raises(ValueError):
            grpo.Config(**wrong)


def test_a_reward_that_goes_with_length_is_seen():
    lengths = torch.arange(10.0).double()
    assert correlation(3 * lengths + 1, lengths) == pytest.approx(1.0)
    assert correlation(-lengths, lengths) == pytest.approx(-1.0)
    assert correlation(torch.ones(10).double(), lengths) == 0.0


# --- the full loop


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
        "loss": "dapo",
        "clip_high": 0.28,
        "missing_stop": 1.0,
        "lr": 1e-3,
        "held_out": 0,
    }
    models = {"span_reward_model": span_reward_model.artifact}
    run = practise(tmp_path, "grpo", base, snapshot, monkeypatch, check=None, models=models, **config)
    rewards = run.figures("reward")
    rise = quality_told("grpo", world, base, run.artifact, rewards)
    assert rise > 0.02
