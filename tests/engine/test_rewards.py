import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.engine import rewards
from training.engine.ragged import Ragged, Spans


def test_an_answers_reward_stands_on_its_last_token():
    ragged = Ragged.of_lengths([3, 0, 1])
    found = rewards.on_last_token(torch.tensor([1.0, 9.0, -2.0]), ragged)
    assert found.tolist() == [0, 0, 1, -2]


def test_fine_grained_rewards_of_two_sentences_and_three_clauses():
    """All clauses relevant, both sentences true, completeness one deviation above its mean: 0.9 + 1.0 + 0.3."""
    ragged = Ragged.of_lengths([12])
    clauses = rewards.on_ends(torch.full((3,), 0.3), Spans.of([(0, 0, 4), (0, 4, 8), (0, 8, 99)]), ragged)
    sentences = rewards.on_ends(torch.full((2,), 0.5), Spans.of([(0, 0, 8), (0, 8, 99)]), ragged)
    completeness = rewards.Part(torch.tensor([7.853]), weight=0.3, mean=-0.447, std=8.30)
    whole = rewards.on_last_token(completeness.weighed, ragged)
    mixed = rewards.mix(
        {"relevance": rewards.Part(clauses), "factuality": rewards.Part(sentences), "completeness": rewards.Part(whole)}
    )
    assert float(mixed.total.sum()) == pytest.approx(2.2)
    assert mixed.total.nonzero()[:, 0].tolist() == [3, 7, 11]
    assert {name: round(float(part.sum()), 6) for name, part in mixed.parts.items()} == {
        "relevance": 0.9,
        "factuality": 1.0,
        "completeness": 0.3,
    }


def test_a_part_without_tokens_pays_in_its_own_row():
    spans = Spans.of([(1, 0, 0)])
    assert rewards.on_ends(torch.tensor([1.0]), spans, Ragged.of_lengths([2, 2])).tolist() == [0, 0, 1, 0]


def test_rewards_that_meet_on_a_token_add_up():
    spans = Spans.of([(0, 0, 2), (0, 1, 2), (1, 0, 1)])
    assert rewards.on_ends(torch.tensor([1.0, 2.0, 5.0]), spans, Ragged.of_lengths([2, 1])).tolist() == [0, 3, 5]


def test_cutting_an_answer_in_more_pieces_may_pay_nothing():
    ragged = Ragged.of_lengths([4, 4])
    spans = Spans.of([(0, 0, 4), (1, 0, 1), (1, 1, 2), (1, 2, 4)])
    found = rewards.on_ends(torch.ones(4), spans, ragged, mean=True)
    assert ragged.sum(found).tolist() == pytest.approx([1.0, 1.0])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=5), st.data())
def test_what_spans_earn_is_what_their_tokens_get(lengths, data):
    ragged = Ragged.of_lengths(lengths)
    filled = [row for row, length in enumerate(lengths) if length]
    if not filled:
        return
    spans = []
    for _ in range(data.draw(st.integers(0, 4))):
        row = data.draw(st.sampled_from(filled))
        start = data.draw(st.integers(0, lengths[row] - 1))
        spans.append((row, start, data.draw(st.integers(start + 1, lengths[row]))))
    earned = torch.arange(1.0, len(spans) + 1)
    placed = Spans.of(spans)
    by_row = torch.zeros(len(lengths)).index_add(0, placed.row, earned)
    assert ragged.sum(rewards.on_ends(earned, placed, ragged)).tolist() == by_row.tolist()
    assert torch.allclose(ragged.sum(placed.spread(earned, ragged, share=True)), by_row)
    inside = torch.zeros(sum(lengths), dtype=torch.bool)
    for row, start, end in spans:
        inside[sum(lengths[:row]) + start : sum(lengths[:row]) + end] = True
    assert (placed.spread(earned, ragged) > 0).tolist() == inside.tolist()


def test_no_verdict_is_not_a_bad_verdict():
    part = rewards.Part(torch.tensor([1.0, math.nan, 0.0]))
    other = rewards.Part(torch.tensor([0.0, 1.0, 1.0]), weight=2.0, bias=0.5)
    mixed = rewards.mix({"judge": part, "length": other})
    assert rewards.judged(mixed.total).tolist() == [True, False, True]
    assert mixed.total[[0, 2]].tolist() == [2.0, 3.0]


def test_a_whitened_part_measures_itself_on_its_verdicts():
    found = rewards.Part.whitened(torch.tensor([1.0, math.nan, 3.0]), weight=2.0).weighed
    assert found[[0, 2]].tolist() == pytest.approx([-math.sqrt(2), math.sqrt(2)])
    assert rewards.Part.whitened(torch.tensor([4.0, 4.0])).weighed.tolist() == [0, 0]


def test_rewards_of_answers_and_of_tokens_are_not_added():
    with pytest.raises(ValueError, match=r"'a': \(2,\), 'b': \(3,\)"):
        rewards.mix({"a": rewards.Part(torch.zeros(2)), "b": rewards.Part(torch.zeros(3))})
    with pytest.raises(ValueError, match="at least one"):
        rewards.mix({})


def test_saying_more_stops_paying():
    found = rewards.length_damping(torch.ones(61), Ragged.of_lengths([61]))
    assert found[[47, 53, 59]].tolist() == pytest.approx([0.9975, 0.5, 0.0025], abs=5e-5)
    assert found[60] == found[59]  # the exponent is held at 6


def test_damping_counts_from_the_first_scored_token_of_each_answer():
    scores = torch.zeros(70)
    scores[[8, 61, 62]] = 1.0  # the first answer's first mark is its 9th token, so its 62nd counts as the 54th
    found = rewards.length_damping(scores, Ragged.of_lengths([62, 8]))
    assert found[[61, 62]].tolist() == pytest.approx([0.5, 1.0], abs=1e-4)
    assert rewards.length_damping(torch.zeros(3), Ragged.of_lengths([3])).tolist() == [0, 0, 0]


def test_an_answer_near_the_limit_is_penalised_in_a_line():
    found = rewards.overlong_penalty(torch.tensor([0, 100, 120, 140, 150]), longest=140, cache=40)
    assert found.tolist() == [0, 0, -0.5, -1, -1]


def test_an_answer_that_was_cut_off_is_penalised():
    assert rewards.missing_stop_penalty(torch.tensor([1.0, 1.0]), [True, False], penalty=0.4).tolist() == (
        pytest.approx([1.0, 0.6])
    )
