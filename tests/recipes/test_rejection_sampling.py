"""rejection_sampling keeps what was best, learns it as it was sampled, and tells what best-of-n alone would give."""

import itertools
import json
import random

import pytest
import torch

from tests.recipes.practice import QUICK, adapter_of, judge_by, practise, quality_told, told_after
from tests.recipes.test_grpo import stop_at
from training.engine.rollouts import Sample
from training.recipes.answers import Answers
from training.recipes.asking import Ask
from training.recipes.context import Cancelled, Events, RecipeError, RunContext
from training.recipes.registry import get
from training.recipes.rejection_sampling import SET, Config, best_of, chosen

NAN = float("nan")
SHORT = {"prompts": 12, "samples": 8, "batch_size": 4, "epochs": 3}


@pytest.fixture
def run_of(tmp_path, base, snapshot, monkeypatch):
    def practised(place="run", **config):
        fitting = {**SHORT, "max_new_tokens": 60, "temperature": 0.7, **config}
        return practise(tmp_path / place, "rejection_sampling", base, snapshot, monkeypatch, steps=None, **fitting)

    return practised


def whole_and_short(ask, text):
    """Known to nobody but the test: an answer that ends soon is good."""
    return -float(len(text))


# --- keeping


def group_of(*rewards, finished=()):
    samples = [
        Sample(0, place, [place, 1], [0.0, 0.0], f"answer {place}", finished=not finished or finished[place])
        for place in range(len(rewards))
    ]
    table = torch.tensor([rewards], dtype=torch.float64)
    return Answers([Ask("p", [], [], [5])], [samples], table, {"judge": table})


def test_the_best_answer_that_is_whole_and_judged_is_kept_the_first_of_equals():
    assert chosen(Config(), group_of(0.1, 0.9, 0.3, NAN)) == [[1]]
    assert chosen(Config(), group_of(0.1, 0.9, 0.9)) == [[1]]
    assert chosen(Config(), group_of(0.1, 0.9, 0.3, finished=[True, False, True])) == [[2]]
    assert chosen(Config(), group_of(0.5, 0.5)) == [[]]
    assert chosen(Config(), group_of(0.5)) == [[0]]
    assert chosen(Config(), group_of(NAN, NAN)) == [[]]
    assert chosen(Config(threshold=0.95), group_of(0.1, 0.9)) == [[]]


def test_above_keeps_all_that_are_good_enough():
    config = Config(keep="above", threshold=0.5)
    assert chosen(config, group_of(0.5, 0.9, 0.3, NAN, 0.9)) == [[0, 1, 4]]
    assert chosen(config, group_of(0.5, 0.5)) == [[0, 1]]
    with pytest.raises(ValueError, match="give the threshold"):
        Config(keep="above")


def test_the_best_of_n_estimate_is_the_mean_over_all_choices_of_n():
    chance = random.Random(0)
    rewards = [chance.random() for _ in range(7)]
    for n in range(1, 8):
        every = [max(some) for some in itertools.combinations(rewards, n)]
        assert best_of(rewards, n) == pytest.approx(sum(every) / len(every))


# --- the recipe


def test_what_was_kept_is_learned(run_of):
    run = run_of(check=whole_and_short)
    held_out = run.figures("held_out_answer_tokens")
    assert held_out[-1] < held_out[0]
    losses = run.figures("loss")
    assert losses[-1] < losses[0]
    (drawn,) = [event["values"] for event in run.of("metrics") if "kept" in event["values"]]
    assert drawn["kept_reward"] > drawn["reward"]
    groups = [json.loads(line) for line in (run.artifact / SET).read_text().splitlines()]
    assert len(groups) == 12
    assert sum(answer["kept"] for group in groups for answer in group["answers"]) == drawn["kept"]
    for group in groups:
        whole = [answer for answer in group["answers"] if answer["finished"] and answer["text"].strip()]
        kept = [answer for answer in group["answers"] if answer["kept"]]
        assert len(kept) <= 1
        assert all(answer["reward"] == max(one["reward"] for one in whole) for answer in kept)
    metrics = json.loads((run.artifact / "redpen.json").read_text())["metrics"]
    assert metrics["best_of_1"] == pytest.approx(drawn["reward"])
    assert metrics["best_of_1"] < metrics["best_of_2"] < metrics["best_of_4"] < metrics["best_of_8"]


def test_nothing_good_enough_is_said(run_of):
    with pytest.raises(RecipeError, match="No answer was good enough"):
        run_of(check=lambda ask, text: 0.0, keep="above", threshold=0.5, prompts=2, samples=2)


def test_a_run_that_goes_on_learns_what_the_first_attempt_drew(tmp_path, base, snapshot, monkeypatch, run_of):
    whole = run_of("whole", check=whole_and_short, prompts=6, held_out=0)
    broken = tmp_path / "broken"
    broken.mkdir()
    short = {**QUICK, **SHORT, "max_new_tokens": 60, "temperature": 0.7, "held_out": 0, "prompts": 6}
    settings = {name: value for name, value in short.items() if name != "steps"}
    settings["checker"] = judge_by(monkeypatch, whole_and_short)
    context = RunContext(
        directory=broken, events=Events(broken / "events.jsonl"), base_model=base, snapshot=snapshot, checkpoint_steps=1
    )
    stop_at(context, step=2)
    with pytest.raises(Cancelled):
        get("rejection_sampling").train(context, get("rejection_sampling").config(settings))
    drawn = []
    monkeypatch.setattr("training.recipes.rejection_sampling.draw_and_keep", lambda *args: drawn.append(args))
    second = run_of("second", check=whole_and_short, prompts=6, held_out=0, resume_from=[broken])
    assert drawn == []
    assert (second.artifact / SET).read_text() == (whole.artifact / SET).read_text()
    assert told_after(second, 0) == told_after(whole, 2)
    mine, theirs = adapter_of(second), adapter_of(whole)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


# --- the full loop


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_true_quality_rises(tmp_path, base, snapshot, span_reward_model, world, monkeypatch):
    """The world knows how good an answer really is; what is kept is chosen by a model that only saw marks."""
    config = {
        "prompts": 120,
        "samples": 8,
        "max_new_tokens": 120,
        "temperature": 0.7,
        "reduction": "phrases",
        "batch_size": 8,
        "epochs": 3,
        "lr": 2e-3,
        "held_out": 0,
    }
    models = {"span_reward_model": span_reward_model.artifact}
    run = practise(
        tmp_path, "rejection_sampling", base, snapshot, monkeypatch, check=None, models=models, steps=None, **config
    )
    rise = quality_told("rejection_sampling", world, base, run.artifact)
    assert rise > 0.02
