"""The digit world: a careless writer is right as a whole about one time in eleven."""

import random

import pytest

from training.worlds.registry import world

EXACT, SHARE = world("digits"), world("digits:share")


def prompt_of(a, b):
    return next(p for p in EXACT.prompts(1000) if p.topic == f"{a}+{b}")


def test_the_right_answer_counts_by_b_from_a_modulo_ten():
    assert EXACT.right(prompt_of(3, 7)) == ("3", "0", "7", "4")
    assert EXACT.true_quality(prompt_of(3, 7), "3 0 7 4") == 1
    assert EXACT.true_quality(prompt_of(3, 7), "3 0 7 5") == 0
    assert EXACT.true_quality(prompt_of(3, 7), "3 0 7 4 1") == 0
    assert SHARE.true_quality(prompt_of(3, 7), "3 1 7") == 0.5


def test_a_careless_writer_is_exactly_right_in_9_to_11_percent():
    assert 0.09 < EXACT.reference_exact() < 0.11
    drawn = [EXACT.true_quality(p, text) for p, text in EXACT.corpus(6000, split=None)]
    assert sum(drawn) / len(drawn) == pytest.approx(EXACT.reference_exact(), abs=0.012)
    assert all(0.4 <= chance <= 0.7 for chances in EXACT.certainty.values() for chance in chances)


def test_wrong_missing_superfluous_and_garbled_digits_are_different_defects():
    found = [(d.kind, d.replacement) for d in EXACT.defects(prompt_of(3, 7), "3 1 x")]
    assert found == [("wrong_digit", "0"), ("garbled", "7"), ("missing_digit", " 4")]
    assert [d.kind for d in EXACT.defects(prompt_of(3, 7), "3 0 7 4 4")] == ["too_much"]


def test_people_judge_by_the_share_also_where_the_truth_is_all_or_nothing():
    person = EXACT.people(noise=0.0, skill=1.0, laziness=0.0, hostility=0.0, harshness=0.0)["Ines"]
    rng = random.Random(0)
    assert person.compare(prompt_of(3, 7), "3 0 7 9", "9 9 9 9", rng).choice == "a"
