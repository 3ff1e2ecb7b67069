"""A critique that is written under constraint is always in its form, and quotes nothing but the answer."""

import json
import random

import pytest

from tests.tiny_base import tiny_base
from training.engine.policy import Policy
from training.engine.quoting import END, IN_WORDS, Quoting, Vocabulary
from training.engine.rollouts import Own, Prompt, Sampling, Transformers, sample_with

ANSWERS = [
    'Hello Zoë, "the tank" holds 2 l\nof water \\ 😀. Thanks!',
    "水箱可以装两升水。",
    "One",
    "The cat sat. The cat sat.",
]


@pytest.fixture(scope="module")
def policy():
    return Policy.open(tiny_base(), None)


def by_chance(tokenizer, answer, chance, **limits):
    """Tokens drawn evenly from those that are allowed, until it stops."""
    walk, ids = Quoting(tokenizer, answer, **limits), []
    while len(ids) < 3000:
        if walk.state[0] == "quote" and not walk.state[-1] and chance.random() < 0.3:
            may = [one for one in walk.allowed() if walk.vocabulary.bytes[one][0] == ord('"')] or walk.allowed()
        else:
            may = walk.allowed()
        token = chance.choice(sorted(may))
        if walk.state == END:
            return ids
        ids.append(token)
        walk.take(token)
    raise AssertionError("it never ended")


@pytest.mark.parametrize("answer", ANSWERS)
def test_whatever_is_drawn_is_json_that_quotes_parts_of_the_answer_between_words(policy, answer):
    chance = random.Random(answer)
    quoted = []
    for _ in range(20):
        ids = by_chance(policy.tokenizer, answer, chance, words=5, quotes=3)
        text = policy.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        found = json.loads(text)
        assert list(found) == ["textual_feedback", "good_spans", "poor_spans"]
        for quotes in (found["good_spans"], found["poor_spans"]):
            assert len(quotes) <= 3
            assert all(quote and quote == quote.strip() and quote in answer for quote in quotes)
            quoted += quotes
    assert quoted
    if answer == ANSWERS[3]:
        assert {word for quote in quoted for word in quote.replace(".", " ").split()} <= {"The", "cat", "sat"}


def test_words_end_when_their_tokens_are_used_up(policy):
    walk = Quoting(policy.tokenizer, "One", words=2)
    while walk.state != IN_WORDS:
        walk.take(walk.allowed()[0])
    letter = policy.tokenizer.convert_tokens_to_ids("a")
    for _ in range(2):
        assert letter in walk.allowed()
        walk.take(letter)
    vocabulary = Vocabulary.of(policy.tokenizer)
    assert all(vocabulary.bytes[token][0] == ord('"') for token in walk.allowed())


def test_an_answer_without_a_word_can_be_quoted_nowhere(policy):
    found = json.loads(policy.tokenizer.decode(by_chance(policy.tokenizer, " \n", random.Random(0), words=1)))
    assert found["good_spans"] == found["poor_spans"] == []


def test_both_samplers_keep_to_it_and_tell_the_log_probabilities_of_what_was_left(policy):
    ids = policy.tokenizer("What is this?")["input_ids"]
    asked = [Prompt(ids, walk=lambda: Quoting(policy.tokenizer, ANSWERS[0], words=10)), Prompt(ids)]
    for temperature in (0.0, 1.0):
        sampling = Sampling(max_tokens=120, temperature=temperature)
        mine, theirs = (sample_with(back(policy), asked, 1, sampling=sampling, seed=3) for back in (Own, Transformers))
        assert [one.ids for one in mine] == [one.ids for one in theirs]
        assert mine[0].finished
        assert json.loads(mine[0].text)
        assert not mine[1].text.startswith("{")  # the other prompt's answer is free
        forced = [value for value in mine[0].logprobs if value == 0.0]
        assert len(forced) >= 5  # where one token alone may come, it is certain


def test_a_tokenizer_that_puts_a_space_before_all_can_write_it_too(tmp_path):
    from training.engine.world_bases import word_tokenizer

    tokenizer = word_tokenizer(["apple", "pear"])
    ids = by_chance(tokenizer, "apple pear", random.Random(1), words=3)
    assert json.loads(tokenizer.decode(ids).strip())
    assert tokenizer("apple pear", add_special_tokens=False)["input_ids"]
