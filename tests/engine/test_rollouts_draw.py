"""Tokens come as often as the distribution says, and their log-probabilities are the distribution's."""

import pytest
import torch

from training.engine.rollouts import Sampling, TruncatedSampling
from training.engine.rollouts.draw import draw
from training.engine.rollouts.sampling import numbers_of

DRAWS = 20_000


def numbers(count=DRAWS, seed=0):
    return torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scores_of(words, seed=1):
    return torch.randn(words, generator=torch.Generator().manual_seed(seed)) * 1.5


def chi_square(tokens, expected):
    """Of the tokens that are expected at least five times; the rest is one."""
    counts = torch.bincount(tokens, minlength=len(expected)).double()
    expected = expected.double() * len(tokens)
    often = expected >= 5
    counts = torch.cat([counts[often], counts[~often].sum()[None]])
    expected = torch.cat([expected[often], expected[~often].sum()[None]])
    kept = expected > 0
    statistic = ((counts - expected)[kept] ** 2 / expected[kept]).sum()
    assert counts[~kept].sum() == 0
    freedom = int(kept.sum()) - 1
    return float((statistic - freedom) / (2 * freedom) ** 0.5)  # about normal


@pytest.mark.parametrize("words", [7, 256, 300, 1024, 1500])  # below, at and above whole blocks
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_tokens_come_as_often_as_the_distribution_says(words, temperature):
    scores = scores_of(words)
    drawn = draw(scores.expand(DRAWS, -1), numbers(), Sampling(temperature=temperature))
    expected = (scores / temperature).softmax(-1)
    assert abs(chi_square(drawn.tokens, expected)) < 4
    assert drawn.logprobs.tolist() == pytest.approx(expected.log()[drawn.tokens].tolist(), abs=1e-5)
    assert drawn.full is None


@pytest.mark.parametrize("cut", [{"top_k": 5}, {"top_p": 0.6}, {"top_p": 0.6, "top_k": 12}, {"top_p": 0.999}])
def test_what_is_cut_never_comes_and_the_rest_as_often_as_it_should(cut):
    scores = scores_of(400)
    drawn = draw(scores.expand(DRAWS, -1), numbers(), Sampling(**cut))
    ranked, order = scores.softmax(-1).sort(descending=True)
    kept = ranked.cumsum(0) - ranked < cut.get("top_p", 1)
    kept[cut.get("top_k", 400) :] = False
    expected = torch.zeros(400).scatter(0, order[kept], ranked[kept])
    mass = expected.sum()
    assert abs(chi_square(drawn.tokens, expected / mass)) < 4
    assert drawn.logprobs.tolist() == pytest.approx((expected / mass).log()[drawn.tokens].tolist(), abs=1e-5)
    assert drawn.full.tolist() == pytest.approx(scores.log_softmax(-1)[drawn.tokens].tolist(), abs=1e-5)


def test_top_p_over_a_flat_distribution_looks_beyond_the_likeliest_tokens():
    scores = torch.zeros(4000) + torch.linspace(0, 0.01, 4000)
    drawn = draw(scores.expand(DRAWS, -1), numbers(), Sampling(top_p=0.5))
    assert int(drawn.tokens.min()) in range(1990, 2015)
    assert drawn.tokens.unique().numel() > 1800


@pytest.mark.parametrize("number", [0.0, 0.5, 1 - 2**-53, 1.0])  # 1: as if rounded up
@pytest.mark.parametrize("cut", [{}, {"top_k": 3}, {"top_p": 0.9}])
def test_a_token_that_cannot_come_never_does_at_the_borders_either(number, cut):
    scores = torch.full((700,), -torch.inf)
    scores[torch.tensor([3, 255, 256, 511, 690])] = torch.tensor([0.0, 1.0, 0.5, -1.0, 0.2])
    drawn = draw(scores[None], torch.tensor([number], dtype=torch.float64), Sampling(**cut))
    assert drawn.logprobs.isfinite().all()
    assert int(drawn.tokens) in (3, 255, 256, 511, 690)


def test_a_row_is_drawn_by_its_own_number_whoever_stands_beside_it():
    scores = torch.stack([scores_of(900, seed) for seed in range(20)])
    together = draw(scores, numbers(20), Sampling())
    alone = [draw(scores[row : row + 1], numbers(20)[row : row + 1], Sampling()) for row in range(20)]
    assert together.tokens.tolist() == [int(one.tokens) for one in alone]
    assert together.logprobs.tolist() == [float(one.logprobs) for one in alone]


def test_without_temperature_the_likeliest_token_comes_with_the_models_own_probability():
    scores = torch.stack([scores_of(900, seed) for seed in range(5)])
    drawn = draw(scores, numbers(5), Sampling(temperature=0, top_p=0.3, top_k=2))
    assert drawn.tokens.tolist() == scores.argmax(-1).tolist()
    assert drawn.logprobs.tolist() == pytest.approx(scores.log_softmax(-1).max(-1).values.tolist(), abs=1e-6)
    assert drawn.full is None


def test_a_seed_gives_the_same_numbers_whatever_the_length():
    assert numbers_of(17, 3) == numbers_of(17, 200)[:3]
    assert numbers_of(17, 3) != numbers_of(18, 3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_tokens": 0}, "at least one token"),
        ({"temperature": -1}, "cannot be negative"),
        ({"top_p": 0}, "above 0"),
        ({"top_p": 1.1}, "at most at 1"),
        ({"top_k": -1}, "0 leaves all"),
        ({"stop": "end"}, "list of strings"),
        ({"stop": [""]}, "none of them is empty"),
    ],
)
def test_impossible_options_are_refused_by_name(options, said):
    with pytest.raises(ValueError, match=said):
        Sampling(**options)


def test_ratios_are_refused_where_the_distribution_is_cut():
    Sampling(temperature=0.5).require_whole()
    Sampling(temperature=0, top_k=4).require_whole()
    for cut in ({"top_p": 0.9}, {"top_k": 50}):
        with pytest.raises(TruncatedSampling, match="mass that was kept"):
            Sampling(**cut).require_whole()
