"""A run that samples is watched: a judge that can be gamed is, and it is said, ended and undone; a good one is left
alone; a stop in between changes nothing.
"""

import json

import pytest
import torch
from pydantic import ValidationError

from tests.recipes.practice import QUICK, adapter_of, judge_by, practise, told_after
from tests.recipes.test_grpo import stop_at
from training.recipes.context import Cancelled, Events, RunContext
from training.recipes.registry import RECIPES, get

WATCHED = {"steps": 12, "prompts": 8, "samples": 6, "lr": 1e-2, "held_out": 12, "every": 2, "new_answers": 0}


def likes_greetings(ask, text):
    """What the judge sees: how often it is greeted."""
    return float(text.count("Hi"))


def variety(ask, text):
    """What is wanted: words of many kinds, none of them twice."""
    words = text.lower().split()
    return len(set(words)) / 8 - (len(words) - len(set(words))) / 4


@pytest.fixture
def run_of(tmp_path, base, snapshot, monkeypatch):
    def practised(place="run", *, truth=variety, recipe="grpo", **config):
        named = judge_by(monkeypatch, truth, "wanted") if truth is not None else ""
        return practise(tmp_path / place, recipe, base, snapshot, monkeypatch, **{**WATCHED, "truth": named, **config})

    return practised


def warnings(run):
    return [event["text"] for event in run.of("log") if event["level"] == "warning"]


def measured(run, name):
    """(step, value) of a figure."""
    return {event["step"]: event["values"][name] for event in run.of("metrics") if name in event["values"]}


def test_a_judge_that_is_gamed_ends_the_run_and_the_best_earlier_weights_are_put_back(run_of):
    run = run_of(check=likes_greetings, on_hacking="stop")
    reward, gap, quality = (measured(run, name) for name in ("reward", "hack/gap", "truth/quality"))
    last = max(reward)
    assert last < WATCHED["steps"]
    assert reward[last] > reward[1] + 1
    assert gap[0] == pytest.approx(0)
    assert gap[last] > 2
    logged = [event["text"] for event in run.of("log")]
    assert any("64 answers of the first policy to 64 prompts" in text for text in logged)
    (end,) = [text for text in warnings(run) if text.startswith("The training ends at step")]
    assert "The score's lead over the truth" in end
    assert "mark what you see" in end
    best = max((step for step in quality if step), key=lambda step: (quality[step], -step))
    assert best < last
    assert any(text.startswith(f"The weights of step {best} are put back: truth/quality") for text in logged)
    card = json.loads((run.artifact / "redpen.json").read_text())
    assert card["metrics"]["truth/quality"] == pytest.approx(quality[best])


def test_a_judge_that_is_the_truth_is_left_alone(run_of):
    run = run_of(check=variety, on_hacking="stop", lr=3e-3)
    assert measured(run, "reward")[12] > measured(run, "reward")[1]
    assert measured(run, "hack/gap")[12] == pytest.approx(0, abs=1e-9)
    assert not [text for text in warnings(run) if "lead over the truth" in text or "The training ends" in text]


def test_without_a_truth_the_weights_from_before_the_trouble_are_put_back(run_of):
    run = run_of(check=likes_greetings, truth=None, on_hacking="stop", recipe="rloo", beta=0.0)
    repetition = measured(run, "hack/repetition")
    last = max(repetition)
    assert last < WATCHED["steps"]
    assert repetition[last] > repetition[0] + 0.1
    assert "hack/gap" not in run.of("metrics")[-1]["values"]
    logged = [event["text"] for event in run.of("log")]
    assert any("Nothing tells it the truth" in text for text in logged)
    (back,) = [text for text in logged if "are put back: quiet steps" in text]
    assert 0 < int(back.split()[4]) < last


def test_a_watched_run_that_was_stopped_says_and_does_what_the_unbroken_one_does(
    tmp_path, base, snapshot, monkeypatch, run_of
):
    whole = run_of("whole", check=likes_greetings, on_hacking="stop")
    names = {"checker": judge_by(monkeypatch, likes_greetings), "truth": judge_by(monkeypatch, variety, "wanted")}
    broken = tmp_path / "broken"
    broken.mkdir()
    context = RunContext(
        directory=broken, events=Events(broken / "events.jsonl"), base_model=base, snapshot=snapshot, checkpoint_steps=1
    )
    stop_at(context, step=3)
    with pytest.raises(Cancelled):
        get("grpo").train(context, get("grpo").config({**QUICK, **WATCHED, **names, "on_hacking": "stop"}))
    second = run_of("second", check=likes_greetings, on_hacking="stop", resume_from=[broken])
    assert second.of("resumed")[0]["step"] == 3
    assert told_after(second, 0) == told_after(whole, 3)
    assert [text for text in warnings(second) if "lead" in text] == [text for text in warnings(whole) if "lead" in text]
    mine, theirs = adapter_of(second), adapter_of(whole)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_a_reward_model_that_trains_nothing_can_tell_the_truth(run_of, tmp_path, base):
    folder = opinion(tmp_path / "fresh", base)
    run = run_of(check=likes_greetings, truth=None, steps=2, models={"watch": folder})
    assert set(measured(run, "truth/score")) == {0, 2}
    assert set(measured(run, "hack/gap")) == {0, 1, 2}
    assert "reward/watch" not in run.of("metrics")[-1]["values"]
    assert [event["text"] for event in run.of("log") if "The reward is" in event["text"]] == [
        "The reward is 1 x checker (each as it is, nothing normalised)."
    ]


def opinion(folder, base):
    """A reward model that has learned nothing but has opinions."""
    from training.engine.heads import ScoreHead
    from training.engine.policy import Policy

    folder.mkdir()
    head = ScoreHead(Policy.load(base, seed=0).model.get_input_embeddings().weight.shape[1])
    torch.manual_seed(0)
    with torch.no_grad():
        head.linear.weight.normal_()
    head.save(folder / "head.safetensors")
    card = {"kind": "reward_model", "base": str(base), "reading": {"passage_tokens": 0, "max_tokens": 256}}
    (folder / "redpen.json").write_text(json.dumps(card))
    return folder


def test_a_watch_can_be_left_out_and_then_costs_nothing(run_of):
    run = run_of(check=likes_greetings, truth=None, steps=2, watch_answers=0)
    assert not [name for event in run.of("metrics") for name in event["values"] if name.startswith(("hack/", "truth/"))]


def test_every_recipe_that_samples_while_it_learns_may_be_given_a_model_to_watch_with():
    watched = {name for name, recipe in RECIPES.items() if "watch" in recipe.inputs}
    assert {"grpo", "rloo", "ppo", "raft"} <= watched
    for name in watched:
        assert RECIPES[name].kinds_for("watch") == ("reward_model", "span_reward_model")
        assert RECIPES[name].unmet(["watch"]) == RECIPES[name].unmet([])  # it judges nothing
        assert {"truth", "watch_answers", "on_hacking"} <= set(RECIPES[name].Config.model_fields)


def test_raft_is_watched_by_rounds_and_ends_before_it_learns_from_what_alarmed(run_of):
    config = {"rounds": 8, "prompts": 16, "samples": 6, "lr": 1e-2, "every": 0, "on_hacking": "stop"}
    run = run_of(check=likes_greetings, recipe="raft", steps=None, **config)
    gap, rounds = measured(run, "hack/gap"), measured(run, "round")
    assert gap[0] == pytest.approx(0)
    assert gap[max(gap)] > 1
    assert max(rounds.values()) < 8
    (end,) = [text for text in warnings(run) if text.startswith("The training ends at step")]
    assert "The score's lead over the truth" in end
    learned = {event["step"] for event in run.of("metrics") if "grad_norm" in event["values"]}
    assert max(learned) < max(rounds)  # nothing was learned after the alarm: an update is counted from 0
    with pytest.raises(ValidationError, match="set watch_answers"):
        get("raft").config({"on_hacking": "stop", "watch_answers": 0})


def test_a_run_that_may_be_ended_must_be_measured_on_the_way():
    with pytest.raises(ValidationError, match="set every, held_out and watch_answers"):
        get("grpo").config({"on_hacking": "stop", "every": 0})
    with pytest.raises(ValidationError, match="no such checker"):
        get("grpo").config({"truth": "nobody"})


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if "watch" in recipe.inputs])
def test_the_truth_that_a_run_names_is_asked_by_every_recipe(name, base, tmp_path, monkeypatch):
    """Recipes that make their judge themselves bring the same watch with them."""
    from types import SimpleNamespace

    from training.recipes.watching import Watcher

    named = judge_by(monkeypatch, variety, "wanted")
    config = get(name).config({"truth": named})
    watcher = Watcher.of(SimpleNamespace(models={}), config, None)
    assert (watcher.name, watcher.truth is not None) == ("truth/quality", True)
