"""The worlds' programs judge by name: an answer's text and its question go in, the truth comes out."""

import pytest

from training.recipes.asking import Ask
from training.recipes.checkers import CHECKERS
from training.recipes.context import RecipeError
from training.recipes.online import Online
from training.worlds.registry import WORLDS, world


@pytest.mark.parametrize("name", CHECKERS)
def test_a_checker_is_the_worlds_true_quality_of_the_bare_text(name):
    known, check = world(name), CHECKERS[name]("")
    for prompt, text in known.corpus(12, seed=1):
        ask = Ask(prompt.id, list(prompt.messages), list(prompt.context), [])
        assert check(ask, text) == known.true_quality(prompt, text)


def test_options_stand_after_the_name_and_every_world_has_a_checker():
    assert set(CHECKERS) == set(WORLDS)
    (prompt, *_) = world("words").prompts(1)
    ask = Ask(prompt.id, list(prompt.messages), [], [])
    own = " ".join(world("words").lexicon[prompt.topic][:4])
    assert CHECKERS["words"]("4")(ask, own) == 1.0
    assert CHECKERS["words"]("8")(ask, own) == 0.5
    assert CHECKERS["words"]("4,all")(ask, f"{own[:-1]}x") == 0.0


def test_a_question_of_another_world_has_no_verdict_and_an_option_that_there_is_not_is_named():
    ask = Ask("p", [{"role": "user", "content": "How tall is the Eiffel tower?"}], [], [])
    assert {check("")(ask, "Very tall.") for check in CHECKERS.values()} == {None}
    with pytest.raises(RecipeError, match="no option “loud”"):
        CHECKERS["words"]("loud")
    with pytest.raises(ValueError, match="there are support, words, digits, cycles"):
        Online(checker="songs")
