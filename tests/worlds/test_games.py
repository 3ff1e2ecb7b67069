"""Circles of preference: the winner, how far from it a policy is, and what a score cannot say (spo.md's figures)."""

import random

import numpy as np
import pytest

from training.worlds.cycles import ANSWERS, CIRCLE, LADDER, Cycles
from training.worlds.games import (
    bradley_terry,
    circles,
    crowd,
    curl,
    exploitability,
    from_chances,
    hedge,
    minimax_winner,
)

WORLD = Cycles()
PROMPT = WORLD.prompts(1, seed=1)[0]


def test_the_winner_of_the_circle_is_2_1_4_sevenths_and_nothing_exploits_it():
    assert minimax_winner(CIRCLE) == pytest.approx([2 / 7, 1 / 7, 4 / 7, 0, 0, 0])
    assert exploitability(CIRCLE, minimax_winner(CIRCLE)) == pytest.approx(0, abs=1e-12)
    assert exploitability(CIRCLE, np.eye(6)[0]) == pytest.approx(0.2)  # pure A is beaten by C


def test_where_one_answer_beats_all_the_winner_is_that_one():
    assert minimax_winner(LADDER) == pytest.approx([1, 0, 0, 0, 0, 0])
    assert circles(LADDER) == 0


def test_hedge_against_itself_gives_the_cards_numbers():
    average, last = hedge(CIRCLE, rounds=1000, rate=0.1)
    assert average[:3] == pytest.approx([0.2839, 0.1328, 0.5744], abs=1e-4)
    assert exploitability(CIRCLE, average) == pytest.approx(0.0108, abs=1e-4)
    assert exploitability(CIRCLE, last) == pytest.approx(0.233, abs=1e-3)
    assert exploitability(CIRCLE, average) < np.log(6) / 100 + 0.05


def test_many_answers_are_solved_by_self_play():
    rng = np.random.default_rng(0)
    drawn = rng.uniform(-1, 1, (14, 14))
    preferences = (drawn - drawn.T) / 2
    winner = minimax_winner(preferences, rounds=20)
    assert winner.sum() == pytest.approx(1)
    assert exploitability(preferences, winner) < 0.005


def test_preferences_must_be_antisymmetric():
    with pytest.raises(ValueError, match="antisymmetric"):
        exploitability([[0, 1], [1, 0]], [0.5, 0.5])
    with pytest.raises(ValueError, match="square"):
        exploitability([[0, 1]], [1])


def test_curl_is_0_where_scores_say_everything_and_1_where_they_say_nothing():
    scores = np.array([0.0, 0.7, 1.1, 2.0])
    chances = 1 / (1 + np.exp(-(scores[:, None] - scores[None, :])))
    transitive = from_chances(chances)
    assert curl(transitive) == pytest.approx(0, abs=1e-9)
    assert bradley_terry(transitive) == pytest.approx(scores - scores.mean(), abs=1e-6)
    turning = np.array([[0, 0.5, -0.5], [-0.5, 0, 0.5], [0.5, -0.5, 0]])
    assert curl(turning) == pytest.approx(1)
    assert circles(turning) == 1
    assert bradley_terry(turning) == pytest.approx([0, 0, 0], abs=1e-9)
    assert 0.05 < curl(CIRCLE) < 0.5
    assert circles(CIRCLE) == pytest.approx(1 / 20)


def test_a_pair_that_was_never_compared_is_a_tie():
    chances = np.array([[0.5, 0.9, np.nan], [0.1, 0.5, 0.5], [np.nan, 0.5, 0.5]])
    assert from_chances(chances)[0] == pytest.approx([0, 0.8, 0])


def test_three_groups_with_turned_orders_are_a_crowd_that_goes_in_a_circle():
    orders = [[3, 2, 1], [1, 3, 2], [2, 1, 3]]
    preferences = crowd(orders, [1, 1, 1])
    assert preferences[0, 1] == preferences[1, 2] == preferences[2, 0] == pytest.approx(1 / 3)
    assert minimax_winner(preferences) == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    assert circles(crowd(orders, [10, 1, 1])) == 0  # one group outvotes the others


def test_the_roles_of_the_words_are_drawn_anew_for_every_topic():
    roles = {tuple(WORLD.role(prompt, word) for word in ANSWERS) for prompt in WORLD.prompts(200)}
    assert len({prompt.topic for prompt in WORLD.prompts(200)}) == 20
    assert len(roles) > 15
    assert all(sorted(one) == list(range(6)) for one in roles)


def test_quality_is_the_chance_against_the_winner_so_no_answer_is_better_than_a_half():
    words = [WORLD.word(PROMPT, role) for role in range(6)]
    assert [WORLD.true_quality(PROMPT, word) for word in words[:3]] == pytest.approx([0.5] * 3, abs=1e-6)
    assert max(WORLD.true_quality(PROMPT, word) for word in words[3:]) < 0.2
    assert WORLD.true_quality(PROMPT, "no such word") == WORLD.true_quality(PROMPT, "") == 0
    assert WORLD.policy_of(PROMPT, [words[0], words[2], words[2], "zebra"]) == pytest.approx([1 / 3, 0, 2 / 3, 0, 0, 0])


def test_people_of_the_circle_choose_by_its_chances():
    a, b = WORLD.word(PROMPT, 0), WORLD.word(PROMPT, 1)
    rng = random.Random(0)
    person = WORLD.people(noise=0.0, laziness=0.0, hostility=0.0)["Ines"]
    chosen = [person.compare(PROMPT, a, b, rng).choice for _ in range(2000)]
    assert chosen.count("a") / 2000 == pytest.approx(0.9, abs=0.02)
    assert person.compare(PROMPT, a, a, rng).choice == "tie"
    assert {person.compare(PROMPT, a, "zebra", rng).choice for _ in range(20)} == {"a"}
