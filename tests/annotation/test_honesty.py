"""Who is honest: what each reason sees, and what it leaves alone."""

from __future__ import annotations

import re

import numpy as np
import pytest

from annotation.honesty import judging, most_answers
from annotation.honesty.hands import same
from annotation.honesty.population import Habit, build, fit, log10_at_least, log10_at_most
from benchmarks.bought_hands import Crowd, Person, evidence_of, run, summaries_of


def told(people: list[Person], seed: int = 7, **crowd) -> dict[str, judging.Verdict]:
    """Verdicts on these people among 300 honest ones."""
    everybody = [*people, *Crowd(seed, honest=300, **crowd).people]
    population = build(summaries_of(everybody, set()))
    return {one.user: one for one in judging.judge(evidence_of(everybody), population)}


def person(*seen: tuple, name: str = "x") -> Person:
    """`seen`: (kind, text) or (kind, text, seconds) on private answers of v2, one a minute."""
    doings = [
        (9_000_000 + place + hash(name) % 1000 * 1000, 1, one[2] if len(one) > 2 else 60.0 * place, one[0], one[1])
        for place, one in enumerate(seen)
    ]
    return Person(name, seen=doings)


def codes(verdict: judging.Verdict) -> list[str]:
    return [reason.code for reason in verdict.reasons]


def test_the_habit_of_a_population_is_found_although_some_are_bought():
    chance = np.random.default_rng(3)
    shown = chance.integers(10, 200, 3000)
    tapped = chance.binomial(shown, chance.beta(1.0, 9.0, 3000))
    honest = fit(shown, tapped)
    assert honest.mean == pytest.approx(0.1, abs=0.03)
    bought = fit(np.concatenate([shown, np.full(300, 200)]), np.concatenate([tapped, np.full(300, 200)]))
    assert (bought.mean, bought.concentration) == pytest.approx((honest.mean, honest.concentration), rel=0.5)
    assert bought.mean < 0.15, "a tenth who love everything pull a plain mean to 0.2 and more"


def test_chances_are_the_beta_binomials():
    # a = b = 1 is uniform on 0..n
    assert log10_at_least(9, 9, 1, 1) == pytest.approx(np.log10(1 / 10))
    assert log10_at_most(4, 9, 1, 1) == pytest.approx(np.log10(5 / 10))
    # a, b large: the binomial
    assert log10_at_least(10, 10, 5e5, 5e5) == pytest.approx(10 * np.log10(0.5), rel=1e-3)


def test_one_user_counts_with_a_bounded_share_of_a_version():
    assert [most_answers(n) for n in (0, 1000, 25_000, 100_000)] == [50, 50, 50, 200]


def test_who_loves_everything_is_left_out_with_the_figures_in_words():
    found = told([person(*[("love", "")] * 60)])["x"]
    assert found.score >= 0.9
    assert "reacted 'love' to 60 of 60 answers shown; others do so to 1" in found.reasons[0].words


def test_who_loves_a_few_of_a_few_is_not():
    found = told([person(*[("love", "")] * 4), person(*[("love", ""), ("", "")] * 10, name="y")])
    assert (found["x"].score, found["y"].score < 0.9) == (0, True)


def test_a_good_past_excuses_nothing():
    past = [("love" if n % 10 == 0 else "", "") for n in range(400)]
    found = told([person(*past, *[("love", "")] * 40)])["x"]
    assert found.score >= 0.9
    assert {"always", "change"} <= set(codes(found))
    words = [reason.words for reason in found.reasons if reason.code == "change"]
    assert re.fullmatch(r"reacted 'love' to \d+ of 4\d\d answers at first, then to (\d+) of the latest \1", words[0])
    assert told([person(*past, *past[:40])])["x"].score < 0.5


def test_silence_makes_nobody_left_out():
    found = told([person(*[("", "")] * 2000)], zeal=-1.0)["x"]
    assert codes(found) in ([], ["never"])
    assert found.score < 0.9


def test_taps_faster_than_reading():
    quick = [("love" if n % 2 else "dislike", "", 1.5 * n) for n in range(60)]
    slow = [("love" if n % 2 else "dislike", "", 40.0 * n) for n in range(60)]
    without_time = [("love" if n % 2 else "dislike", "", 5.0) for n in range(60)]
    found = told([person(*quick), person(*slow, name="y"), person(*without_time, name="z")])
    assert "60 of 60 reactions came faster than anybody reads: 10 answers in 13.5 seconds" in [
        reason.words for reason in found["x"].reasons
    ]
    assert "burst" not in codes(found["y"]) + codes(found["z"])


def test_the_same_words_again_and_again_and_who_else_writes_them():
    words = ["What a wonderful answer!", "what a  wonderful answer"]
    copier = [("love" if n % 3 == 0 else "", words[n % 2] if n % 3 == 0 else "") for n in range(60)]
    found = told([person(*copier), person(*copier, name="y")])["x"]
    assert found.score >= 0.9
    assert found.reasons[0].words == (
        "20 texts, but only 1 different ones, under 20 reactions; 1 other user writes the same again and again"
    )


def test_polite_words_and_ready_made_ones_condemn_nobody():
    thanks = [("love" if n % 3 == 0 else "", "Thanks!" if n % 3 == 0 else "") for n in range(60)]
    chips = [("dislike" if n % 3 == 0 else "", "This was not helpful to me" if n % 12 == 0 else "") for n in range(90)]
    found = told([person(*thanks), person(*chips, name="y")])
    assert "copies" not in codes(found["x"])
    assert found["y"].score < 0.9
    assert same("Thanks!") == ""


def test_who_is_against_everybody_is_doubted_and_not_left_out_for_that():
    crowd = Crowd(9, honest=200)
    loved = [Person(f"p{n}", seen=[(m, 1, 60.0 * m, "love" if (m + n) % 9 else "dislike", "") for m in range(60)])
             for n in range(40)]  # fmt: skip
    contrary = Person("x", seen=[(m, 1, 60.0 * m, "dislike" if m % 2 else "", "") for m in range(60)])
    everybody = [contrary, *loved, *crowd.people]
    population = build(summaries_of(everybody, set()))
    found = judging.judge(evidence_of(everybody), population)[0]
    reason = next(reason for reason in found.reasons if reason.code == "disagrees")
    assert reason.words == "is of the others' opinion on 0 of 30 answers"
    assert 0.5 <= reason.strength < 0.9


def test_a_ring_is_found_by_what_it_likes_together_and_fans_of_good_answers_are_no_ring():
    crowd = Crowd(11, honest=400, attack="ring", share=0.03)
    population = build(summaries_of(crowd.people, set()))
    verdicts = {one.user: one for one in judging.judge(evidence_of(crowd.people), population)}
    hands = [verdicts[one.name] for one in crowd.people if one.attack]
    assert sum("ring" in codes(one) for one in hands) >= 0.8 * len(hands)
    words = next(reason.words for one in hands for reason in one.reasons if reason.code == "ring")
    assert "that a group of" in words
    assert not any("ring" in codes(verdicts[one.name]) for one in crowd.people if not one.attack)
    # the same answers liked together, but everybody likes them
    fans = [Person(f"fan{n}", seen=[(m, 1, 60.0 * m, "love", "") for m in range(20)]) for n in range(60)]
    everybody = [*fans, *crowd.people]
    population = build(summaries_of(everybody, set()))
    found = judging.judge(evidence_of(everybody), population)
    assert not any("ring" in codes(one) for one in found[:60])


@pytest.mark.parametrize(("better", "zeal"), [(1.5, -2.6), (0.25, -6.0)])
def test_a_far_better_version_and_rare_reactions_make_nobody_dishonest(better, zeal):
    outcome = run(31, honest=600, better=better, zeal=zeal)
    assert outcome.honest_out <= 0.02


@pytest.mark.parametrize("attack", ["always", "copies", "sleeper", "ring", "mixed"])
@pytest.mark.parametrize(("share", "allowed"), [(0.01, 1.0), (0.05, 3.0)])
def test_each_attack_moves_love_by_little(attack, share, allowed):
    outcome = run(61, honest=800, attack=attack, share=share)
    assert outcome.unfiltered > abs(outcome.filtered)
    assert abs(outcome.filtered) <= allowed
    assert outcome.honest_out <= 0.02
    assert outcome.unexplained == 0


def test_who_did_nothing_is_no_trouble():
    evidence = evidence_of([person(("love", ""))])
    assert judging.judge(evidence, build([]))[0].score == 0
    assert isinstance(build([]).good, Habit)
