"""raft and the span reward model, stopped in the middle: what they go on to make is what they would have made."""

import json

import pytest
import torch

from tests.recipes.conftest import carry_out
from training.recipes import raft, span_reward_model
from training.runs import events

pytestmark = pytest.mark.slow

MARKS = {"epochs": 2, "batch_size": 16, "rank": 4, "dropout": 0.1, "echo": False, "passage_tokens": 0}
ROUNDS = {"rounds": 3, "prompts": 4, "samples": 3, "max_new_tokens": 60, "passage_tokens": 0, "held_out": 2}
ROUNDS |= {"batch_size": 2, "new_answers": 2, "rank": 4}


class Stopped(BaseException):
    pass


def told(run):
    """What the platform keeps of it, and the files that it made."""
    said = [{**event, "seq": 0, "at": 0} for event in events.story(run.context.directory)]
    files = {path.name: path.read_bytes() for path in run.artifact.iterdir() if path.name != "adapter_config.json"}
    return json.dumps(said), files


def stops_at(monkeypatch, module, name, number):
    """The function `name` of `module` ends the training when it is called for the `number`-th time."""
    true, calls = getattr(module, name), []

    def call(*arguments, **options):
        calls.append(1)
        if len(calls) == number:
            raise Stopped
        return true(*arguments, **options)

    monkeypatch.setattr(module, name, call)


@pytest.mark.parametrize(
    ("recipe", "config", "place"),
    [
        ("span_reward_model", MARKS, (span_reward_model, "measure", 2)),
        ("raft", ROUNDS, (raft, "describe", 2)),
    ],
)
def test_it_goes_on_after_a_stop(tmp_path, base, snapshot, request, monkeypatch, recipe, config, place):
    given = {"base_model": base, "snapshot": snapshot, "checkpoint_steps": 1}
    if recipe == "raft":
        given["models"] = {"span_reward_model": request.getfixturevalue("span_reward_model").artifact}
    torch.manual_seed(0)  # as training.launch does
    whole = told(carry_out(tmp_path / "whole" / "attempt-1", recipe, config, **given))
    with monkeypatch.context() as patch:
        stops_at(patch, *place)
        torch.manual_seed(0)
        with pytest.raises(Stopped):
            carry_out(tmp_path / "attempt-1", recipe, config, **given)
    again = carry_out(tmp_path / "attempt-2", recipe, config, resume_from=[tmp_path / "attempt-1"], **given)
    assert again.of("resumed")
    assert told(again) == whole
