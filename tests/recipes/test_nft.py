"""nft learns from verdicts, from mistakes alone as well, and its step is the gradient of the equation."""

import json
import math

import pytest
import torch

from tests.recipes.practice import QUICK, adapter_of, judge_by, practise, starts_with_hi, told_after
from tests.recipes.test_grpo import stop_at
from training import engine
from training.engine.policy import Lora, Policy
from training.recipes import grpo, nft
from training.recipes.answers import Answers, Gap, with_advantages
from training.recipes.asking import Ask
from training.recipes.context import Cancelled, Events, RunContext
from training.recipes.nft import PROMPTS, RATES, Seen, verdicts, with_verdicts
from training.recipes.registry import get


@pytest.fixture
def run_of(tmp_path, base, snapshot, monkeypatch):
    def practised(place="run", **config):
        return practise(
            tmp_path / place, "nft", base, snapshot, monkeypatch, **{"tries": 2, "truncated": "judged", **config}
        )

    return practised


@pytest.fixture
def group(base):
    """A policy, and three answers of its own to one prompt."""
    policy = Policy.load(base, lora=Lora(rank=4), seed=0)
    messages = [{"role": "user", "content": "How long is the warranty?"}]
    ask = Ask("p", messages, [], engine.scoring.prompt_ids(policy.tokenizer, messages, [], passage_tokens=0))
    sampling = engine.rollouts.Sampling(max_tokens=6, temperature=0.9)
    drawn = engine.rollouts.sample(policy, [ask.ids], 3, sampling=sampling, seed=1)
    rewards = torch.tensor([[1.0, 0.0, 0.4]], dtype=torch.float64)
    return policy, Answers([ask], [drawn], rewards, {"checker": rewards})


def test_answers_become_right_more_often(run_of):
    run = run_of()
    assert run.figures("rate")[-1] > run.figures("rate")[0] + 0.4
    assert run.figures("held_out_pass_1")[-1] > run.figures("held_out_pass_1")[0]
    assert run.figures("held_out_pass_4")[-1] >= run.figures("held_out_pass_1")[-1]
    assert run.figures("ratio/right") == [1.0] * len(run.figures("ratio/right"))  # every answer is read once
    assert min(run.figures("grad_norm/right") + run.figures("grad_norm/wrong")) > 0
    assert set(run.figures("C")) == {6.0}
    said = [one for event in run.of("sample") for one in event["data"].get("answers", []) if "ratios" in one]
    assert said
    assert all(math.isfinite(ratio) for one in said for ratio in one["ratios"])


def test_mistakes_alone_teach(run_of):
    run = run_of(learns_from="wrong", lr=1e-2)
    assert run.figures("rate")[-1] > run.figures("rate")[0]
    assert "ratio/right" not in run.of("metrics")[-1]["values"]


def test_groups_that_teach_nothing_are_replaced_and_named(run_of):
    never = run_of("never", check=lambda ask, text: 0.0, steps=1, held_out=0, new_answers=0)
    assert never.figures("dropped/all_wrong") == [1.0]
    assert never.figures("drawn_again") == [2.0]
    assert never.figures("answers_written") == [3 * 6 * 8]
    told = json.loads((never.artifact / PROMPTS).read_text())
    assert len(told["hard"]) == len(told["rates"]) > 6
    assert not told["solved"]
    lines = [json.loads(line) for line in (never.artifact / RATES).read_text().splitlines()]
    assert all(line["judged"] == 8 and line["right"] == 0 for line in lines)


def test_a_step_with_nothing_to_learn_changes_nothing(run_of, base):
    run = run_of(check=lambda ask, text: 1.0, truncated="judged", tries=0, steps=1, held_out=0, new_answers=0)
    assert run.figures("dropped/all_right") == [1.0]
    fresh = Policy.load(base, lora=Lora(rank=8), seed=0).state_dict()
    saved = adapter_of(run)
    assert all(torch.equal(saved[name.replace(".default", "")], value) for name, value in fresh.items())


def test_no_verdict_is_not_wrong(group):
    _, answers = group
    answers.rewards[0, 1] = math.nan
    right = verdicts(nft.Config(truncated="judged"), answers)
    assert right[0, [0, 2]].tolist() == [1.0, 0.0]
    assert right[0, 1].isnan()
    assert nft.of_groups(right)["rate"] == 0.5
    answers.rewards[0, 2] = math.nan
    alone = nft.of_groups(verdicts(nft.Config(truncated="judged"), answers))
    assert alone["dropped/unjudged"] == 1.0


def test_a_cut_answer_is_wrong_unless_it_is_judged(group):
    _, answers = group
    answers.groups[0] = [
        type(one)(**{**one.__dict__, "finished": place > 0}) for place, one in enumerate(answers.groups[0])
    ]
    assert verdicts(nft.Config(), answers).tolist() == [[0.0, 0.0, 0.0]]
    assert verdicts(nft.Config(truncated="judged"), answers).tolist() == [[1.0, 0.0, 0.0]]
    assert verdicts(nft.Config(truncated="judged", verdict="graded"), answers).tolist() == [[1.0, 0.0, 0.4]]


def gradient_of(policy, loss):
    for parameter in policy.parameters:
        parameter.grad = None
    (loss.total / loss.count).backward()
    return torch.cat([parameter.grad.flatten() for parameter in policy.parameters])


def test_on_its_own_answers_it_is_dr_grpo(group):
    policy, answers = group
    config = nft.Config(temperature=0.9, max_new_tokens=6, truncated="judged")
    right = verdicts(config, answers)
    units = with_verdicts(answers.units(config.budget), right, right.nanmean(-1))
    (pack,) = engine.packs.micro_batches(units, tokens=config.budget)
    mine = gradient_of(policy, nft.loss_of(config, policy, pack, Gap(), Seen(), 1.0))

    other = grpo.Config(loss="dr_grpo", scale="none", temperature=0.9, max_new_tokens=6)
    advantages = engine.credit.group_relative(right, scale="none")
    (pack,) = engine.packs.micro_batches(with_advantages(answers.units(other.budget), advantages), tokens=other.budget)
    theirs = gradient_of(policy, grpo.loss_of(other, policy, pack, Gap(), 1.0))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-7)
    assert theirs.abs().max() > 1e-3


def test_old_log_probs_are_the_trainers_own(run_of):
    run = run_of(minibatches=2, every=1, steps=3)
    first, second = run.figures("ratio/right")[0], run.figures("ratio/wrong")[0]
    assert first > 1 > second  # the second minibatch was read after the first had been learned from
    assert 0 <= run.figures("below_epsilon")[0] <= 1


def test_a_run_that_was_stopped_and_taken_up_again_is_the_unbroken_one_bit_for_bit(
    tmp_path, base, snapshot, monkeypatch, run_of
):
    settings = {"steps": 4, "prompts": 3, "samples": 4, "minibatches": 2, "every": 2, "tries": 1}
    settings["truncated"] = "judged"
    whole = run_of("whole", **settings)
    config = get("nft").config({**QUICK, **settings, "checker": judge_by(monkeypatch, starts_with_hi)})
    broken = tmp_path / "broken"
    broken.mkdir()
    context = RunContext(
        directory=broken, events=Events(broken / "events.jsonl"), base_model=base, snapshot=snapshot, checkpoint_steps=1
    )
    stop_at(context, step=2)
    with pytest.raises(Cancelled):
        get("nft").train(context, config)
    again = run_of("again", resume_from=[broken], **settings)
    assert again.of("resumed")[0]["step"] == 2
    assert told_after(again, 2) == told_after(whole, 2)
    assert all(torch.equal(value, adapter_of(again)[name]) for name, value in adapter_of(whole).items())
    assert (again.artifact / RATES).read_text() == (whole.artifact / RATES).read_text()


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="8 is few"):
        nft.Config(samples=1)
    assert nft.Config(max_new_tokens=40).constant == 40
    assert nft.Config(length=2.5).constant == 2.5


def test_its_judge_may_be_a_program_alone():
    assert nft.RECIPE.unmet([]) == []
    assert starts_with_hi(None, "Hi there") == 1.0
