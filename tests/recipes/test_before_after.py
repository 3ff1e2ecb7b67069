"""The answers to fresh prompts before and after, with what is marked in them."""

import pytest

from tests.recipes.practice import practise
from training.engine.tokens import Span
from training.recipes import marking
from training.recipes.before_after import BeforeAfter, phrases
from training.recipes.marking import Marking
from training.recipes.rewarding import Judge


@pytest.fixture
def greeting_is_bad(monkeypatch):
    """A reader that marks the first letter of every answer, as good where it begins with Hi."""

    def read(ask, text):
        return Marking((Span(0, 1, 1.0 if text.startswith("Hi") else -1.0),)) if text else Marking()

    monkeypatch.setitem(marking.READERS, "greeting", lambda argument: read)
    return "greeting"


def test_a_run_shows_its_first_and_its_last_answers_to_the_same_fresh_prompts(
    tmp_path, base, snapshot, monkeypatch, greeting_is_bad, world
):
    config = {"reader": greeting_is_bad, "held_out": 8, "samples": 4, "epochs": 2, "lr": 1e-2, "steps": 4}
    run = practise(tmp_path / "run", "text2grad", base, snapshot, monkeypatch, check=None, **config)
    (shown,) = [event["data"] for event in run.of("sample") if "comparison" in event["data"]]
    assert shown["marked_by"] == "what this run is judged by"
    assert len(shown["comparison"]) == 8
    learned = {prompt["prompt_id"] for prompt in run.context.prompts("train")}
    assert not learned & {pair["prompt_id"] for pair in shown["comparison"]}
    before, after = shown["bad"]
    assert after < before
    told = run.figures("held_out_bad_phrases")
    assert (told[0], told[-1]) == (before / 8, after / 8)
    assert before == sum(not pair["before"]["text"].startswith("Hi") for pair in shown["comparison"])
    assert shown["labels"] == [["", before, after]]


def test_where_the_world_is_known_it_is_the_one_that_marks(world):
    import random

    from training.engine.rollouts import Sample
    from training.recipes.asking import Ask

    chance = random.Random(0)
    prompts = world.prompts(6, seed=3, split="dev")
    asks = [Ask(one.id, one.messages, one.context, []) for one in prompts]
    careless = [Sample(0, 0, [1], [0.0], world.answer(one, chance).text, True) for one in prompts]
    clean = [Sample(0, 0, [1], [0.0], world.clean_answer(one, chance).text, True) for one in prompts]
    compared = BeforeAfter(Judge({"checker": lambda chosen, samples: [0.0] * len(samples)}), "support")
    assert compared.saw(asks, careless)["held_out_bad_phrases"] > 0.5
    assert compared.saw(asks, clean) == {"held_out_bad_phrases": 0.0}
    shown = compared.shown()
    assert shown["marked_by"] == "the world's own program"
    assert shown["bad"][0] > shown["bad"][1] == 0
    assert {label for label, *_ in shown["labels"] if label} <= {
        "invented_fact",
        "rude_phrase",
        "missing_step",
        "rambling",
        "garbled",
    }
    for pair in shown["comparison"]:
        assert pair["before"]["text"] != pair["after"]["text"]


def test_where_nobody_marks_phrases_nothing_is_counted():
    compared = BeforeAfter(Judge({"checker": lambda chosen, samples: [0.0]}))
    assert compared.marked_by == ""
    assert compared.saw([], []) == {}


def test_neighbouring_tokens_are_one_phrase_and_doubt_is_none():
    tokens = [(0, 3, -0.9, "a"), (4, 6, -0.95, "b"), (6, 7, 0.2, "a"), (8, 9, -0.6, "a"), (9, 12, 0.7, "")]
    assert phrases(tokens) == [(0, 6, -0.95, "b"), (8, 9, -0.6, "a"), (9, 12, 0.7, "")]
