"""Stored answers as rows: never tokenised again where it is known how they were sampled; and what scores are worth."""

import pytest
import torch

from training.engine.answers import answer_row, completion_of, pairs_of, prompt_of, sampled_as
from training.engine.heads import ScoreHead
from training.engine.measures import calibration_error
from training.engine.packs import lay_out, micro_batches
from training.engine.policy import Policy
from training.engine.reward_scoring import Cuts, RewardScorer
from training.engine.scoring import prompt_ids
from training.engine.tokens import stop_ids

ASKED = [{"role": "user", "content": "How do I fill the tank?"}]
TEXT = "Lift the lid and pour."


@pytest.fixture(scope="module")
def usual(tokenizer):
    return tokenizer(TEXT, add_special_tokens=False)["input_ids"]


def test_ids_are_taken_only_where_they_write_the_text(tokenizer, usual):
    stop = tokenizer.eos_token_id
    letters = [token for letter in TEXT for token in tokenizer(letter, add_special_tokens=False)["input_ids"]]
    assert letters != usual
    assert sampled_as(tokenizer, TEXT, [*letters, stop]) == [*letters, stop]
    assert sampled_as(tokenizer, TEXT, usual) == usual  # cut off: without a stop token
    assert sampled_as(tokenizer, TEXT, [*usual, stop, stop]) is None
    assert sampled_as(tokenizer, TEXT, usual[:-1]) is None
    assert sampled_as(tokenizer, TEXT, [len(tokenizer) + 5]) is None  # of a larger vocabulary
    assert sampled_as(tokenizer, TEXT, None) is sampled_as(tokenizer, TEXT, []) is None


def test_a_row_has_the_samplers_prompt_and_trains_the_answer_with_its_stop_token(tokenizer, usual):
    asked = prompt_ids(tokenizer, ASKED, [], passage_tokens=0)
    by_text = answer_row(tokenizer, "r", ASKED, [], text=TEXT)
    by_ids = answer_row(tokenizer, "r", ASKED, [], text=TEXT, ids=completion_of(by_text), of_row={"weight": 2.0})
    assert prompt_of(by_text) == asked
    assert completion_of(by_text)[:-1] == usual
    assert completion_of(by_text)[-1] in stop_ids(tokenizer)
    assert (list(by_ids.ids), list(by_ids.trained)) == (list(by_text.ids), list(by_text.trained))
    assert by_ids.of_row == {"weight": 2.0}


def test_passages_stand_in_the_prompt_and_not_in_what_is_trained(tokenizer):
    context = [{"id": "h", "title": "Tank", "text": "The tank is filled from above."}]
    row = answer_row(tokenizer, "r", ASKED, context, text=TEXT, passage_tokens=40)
    assert "from above" in tokenizer.decode(prompt_of(row))
    assert "from above" not in tokenizer.decode(completion_of(row))


def test_the_first_and_second_of_every_pair_are_found_wherever_the_pack_put_them(tokenizer):
    units = [
        [answer_row(tokenizer, f"{number} {what}", ASKED, [], text=TEXT * length) for what, length in pair.items()]
        for number, pair in enumerate([{"w": 1, "l": 3}, {"w": 4, "l": 1}, {"w": 2, "l": 2}])
    ]
    for pack in micro_batches(units, tokens=10_000):
        first, second = pairs_of(pack)
        assert {pack.rows[place].name[-1] for place in first} == {"w"}
        for one, other in zip(first.tolist(), second.tolist(), strict=True):
            assert pack.rows[one].name[0] == pack.rows[other].name[0]


@pytest.fixture(scope="module")
def scorer(base):
    policy = Policy.load(base, seed=0)
    head = ScoreHead(policy.model.config.hidden_size)
    torch.manual_seed(0)
    torch.nn.init.normal_(head.linear.weight)
    return RewardScorer(policy, head, passage_tokens=0, max_tokens=200)


def test_an_answer_scores_alone_what_it_scores_in_company(scorer):
    texts = [TEXT, "Pour.", TEXT + " Then close it.", "No idea."]
    items = [{"messages": ASKED, "context": [], "text": text} for text in texts]
    together = scorer.score_many(items)
    alone = [scorer.score_many([item])[0] for item in items]
    assert together == pytest.approx(alone, abs=1e-4)
    assert len(set(together)) == 4


def test_answers_to_one_prompt_are_read_together_its_prompt_once(scorer, monkeypatch):
    from training.engine import reward_scoring

    seen = []

    def spy(units, **options):
        seen.extend(units)
        yield from micro_batches(units, **options)

    monkeypatch.setattr(reward_scoring, "micro_batches", spy)
    other = [{"role": "user", "content": "And the filter?"}]
    items = [{"messages": asked, "context": [], "text": TEXT} for asked in (ASKED, ASKED, other)]
    scorer.score_many(items)
    assert [len(unit) for unit in seen] == [2, 1]
    assert lay_out([seen[0]]).ids.shape[1] < 2 * len(seen[0][0].ids)


def test_the_steps_of_a_scale_begin_evenly_around_0_and_stay_in_order():
    cuts = Cuts(5)
    assert cuts().tolist() == pytest.approx([-1.5, -0.5, 0.5, 1.5], abs=1e-6)
    torch.nn.init.normal_(cuts.raw, std=5.0)
    assert (cuts().diff() >= 0).all()
    with pytest.raises(ValueError, match="two steps"):
        Cuts(1)


def test_calibration_error_is_0_for_honest_claims_and_the_gap_for_others():
    assert calibration_error([0.75] * 4, [True, True, True, False]) == pytest.approx(0.0)
    assert calibration_error([0.95] * 4, [True, True, True, False]) == pytest.approx(0.2)
    assert calibration_error([0.05, 1.0], [False, True]) == pytest.approx(0.025)
    assert calibration_error([], []) is None
