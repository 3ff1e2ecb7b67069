"""Marks on sampled answers: every token gets what was marked on it, in the very tokens that were sampled.

The numbers of methods/text2grad.md that are about one part stand with its tests: spans and their 988 real ones in
test_tokens, GAE in test_credit, the KLs in test_kl, the clip in test_objectives_by_hand, the damping in test_rewards.
"""

import pytest

from tests.tiny_base import tiny_base
from training.engine import marks
from training.engine.tokens import Span

CAT = "The cat sat on the moon."


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(tiny_base()))


def test_offsets_are_those_of_the_sampled_ids_also_where_they_are_not_the_tokenizers_own(tokenizer):
    text = "How are you, Zoë? 😀 fine"
    own = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    assert marks.offsets_of(tokenizer, own["input_ids"], text) == own["offset_mapping"]
    letters = [token for letter in text for token in tokenizer(letter, add_special_tokens=False)["input_ids"]]
    assert letters != own["input_ids"]
    offsets = marks.offsets_of(tokenizer, [*letters, tokenizer.eos_token_id], text)
    assert len(offsets) == len(letters)
    assert {(start, end) for start, end in offsets} == {(place, place + 1) for place in range(len(text))}
    assert offsets == sorted(offsets)


def test_a_stop_token_earns_nothing_but_what_is_missing_at_the_end(tokenizer):
    ids = tokenizer(CAT, add_special_tokens=False)["input_ids"]
    whole = marks.rewards_of(tokenizer, [*ids, tokenizer.eos_token_id], CAT, [Span(4, 11, 1.0), Span(19, 23, -1.0)])
    assert len(whole) == len(ids) + 1
    assert whole[-1] == 0
    assert sorted(set(whole)) == [-1, 0, 1]
    missing = [Span(len(CAT), len(CAT), -1.0)]
    assert marks.rewards_of(tokenizer, [*ids, tokenizer.eos_token_id], CAT, missing) == [0.0] * len(ids) + [-1.0]
    cut_off = marks.rewards_of(tokenizer, ids, CAT, missing)
    assert cut_off[-1] == -1.0
    assert sum(map(abs, cut_off)) == 1.0


def test_people_who_marked_nothing_halve_what_another_marked_and_severity_may_count(tokenizer):
    ids = tokenizer(CAT, add_special_tokens=False)["input_ids"]
    said = [{"start": 4, "end": 7, "sentiment": -1, "severity": 1, "author": "Ben"}]
    plain, grave = marks.of_people(said), marks.of_people(said, by_severity=True)
    assert min(marks.rewards_of(tokenizer, ids, CAT, plain, annotators=2)) == -0.5
    assert min(marks.rewards_of(tokenizer, ids, CAT, grave, annotators=1)) == pytest.approx(-1 / 3)


def test_a_models_scores_are_signs_or_soft():
    scores = [
        {"start": 0, "end": 3, "good": 0.2, "bad": 0.1},
        {"start": 3, "end": 7, "good": 0.5, "bad": 0.3},
        {"start": 7, "end": 11, "good": 0.1, "bad": 0.6},
    ]
    assert [(one.start, one.score) for one in marks.of_scores(scores)] == [(3, 1.0), (7, -1.0)]
    assert [round(one.score, 4) for one in marks.of_scores(scores, how="soft")] == [0.1, 0.2, -0.5]
