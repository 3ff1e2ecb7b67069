"""nft, spo and the preference model as the child of a run: launched by their names, with what a form would send."""

import json
import threading

import pytest

from tests.recipes.test_launch import events, order
from training.launch import attempt

PLAY = {
    "steps": 1,
    "prompts": 2,
    "samples": 4,
    "max_new_tokens": 4,
    "passage_tokens": 0,
    "rank": 4,
    "held_out": 2,
    "new_answers": 1,
    "checker": "support",
}
ARTIFACTS = {"nft": "policy", "spo": "policy", "preference_model": "preference_model"}


@pytest.mark.parametrize(
    ("recipe", "config"),
    [
        ("nft", {**PLAY, "tries": 0}),
        ("spo", PLAY),
        ("preference_model", {"epochs": 1, "passage_tokens": 0, "rank": 4, "rankings": False}),
    ],
)
def test_they_are_launched_and_make_what_they_say(tmp_path, base, judged, recipe, config):
    order(tmp_path, base, judged, recipe=recipe, config=config)
    assert attempt(tmp_path, threading.Event()) == 0, events(tmp_path)[-1]
    said = events(tmp_path)
    assert said[-1]["type"] == "done"
    card = json.loads((tmp_path / "artifact" / "redpen.json").read_text())
    assert card["kind"] == ARTIFACTS[recipe]
    assert {"metrics", "sample", "artifact"} <= {event["type"] for event in said}


@pytest.mark.parametrize("recipe", ["nft", "spo"])
def test_without_anything_that_judges_they_say_so(tmp_path, base, judged, recipe):
    order(tmp_path, base, judged, recipe=recipe, config={**PLAY, "checker": ""})
    assert attempt(tmp_path, threading.Event()) == 1
    last = events(tmp_path)[-1]
    assert (last["type"], last["code"]) == ("error", "run.input_missing")
    assert last["action"]
