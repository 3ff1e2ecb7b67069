"""Answers are cut in segments that tile them, and people's marks say of each segment whether it has an error."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.test_tokens import hard
from tests.shared import shared
from training.engine import segments
from training.engine.segments import ERR, OK, clauses, end_tokens, last_character, of_words, sentences, verdicts

QA_FEEDBACK = shared("data/qa_feedback/feedback.json")
RELEVANCE = ("Irrelevant", "Redundant", "Incoherent")
FACTUALITY = ("Wrong-Grounding", "Unverifiable")

words = st.sampled_from(["one", "two,", "three;", "four.", "five!", "six?", " ", "\n", "…", ")"])
texts = st.lists(words | hard, max_size=60).map(" ".join)


def pieces(cut, text):
    return [text[start:end] for start, end in cut(text)]


def mark(text, phrase, label=""):
    start = text.index(phrase)
    return {"start": start, "end": start + len(phrase), "label": label}


# --- cutting


def test_the_cards_sentence_has_exactly_two_clauses():
    text = "The album, released in 2018, was produced by Oscar Gorres and it reached the top ten in six countries."
    assert pieces(clauses, text) == [
        "The album, released in 2018, ",
        "was produced by Oscar Gorres and it reached the top ten in six countries.",
    ]
    assert pieces(sentences, text) == [text]


@pytest.mark.parametrize("text", ["One.", "One, two.", "One, two; three! four", "a, b, c, d, e"])
def test_a_sentence_of_five_words_or_fewer_is_one_clause(text):
    assert len(clauses(text)) == len(sentences(text))


def test_a_short_piece_joins_the_one_on_its_left():
    text = "a b c d e, f g h, i j k l m n o p."
    assert pieces(clauses, text) == ["a b c d e, f g h, ", "i j k l m n o p."]  # the cut after e is moved
    assert pieces(clauses, "a b, c d e f g h i.") == ["a b, c d e f g h i."]  # the first piece has none on its left
    assert pieces(clauses, "a b c d e, f g h i.") == ["a b c d e, f g h i."]  # too little would follow


def test_every_few_words_make_a_segment():
    assert pieces(of_words(2), " a b\tc d e") == [" a b\t", "c d ", "e"]
    assert pieces(segments.segmenter("words:4"), "a b c d e") == ["a b c d ", "e"]
    with pytest.raises(ValueError, match="sentence, clause and words:4"):
        segments.segmenter("paragraph")
    with pytest.raises(ValueError, match="0 words"):
        segments.segmenter("words:0")


@settings(max_examples=200, deadline=None)
@given(texts, st.sampled_from([sentences, clauses, of_words(1), of_words(4)]))
def test_segments_tile_the_text_and_each_has_a_word(text, cut):
    found = cut(text)
    assert "".join(text[start:end] for start, end in found) == (text if text.split() else "")
    assert [start for start, _ in found[1:]] == [end for _, end in found[:-1]]
    assert all(text[start:end].split() for start, end in found)
    assert all(not text[last_character(text, one)].isspace() for one in found)


@settings(max_examples=50, deadline=None)
@given(texts)
def test_clauses_are_parts_of_sentences(text):
    assert {start for start, _ in sentences(text)} <= {start for start, _ in clauses(text)}


# --- where they end, in tokens


def test_a_segment_ends_at_the_token_that_holds_its_last_character():
    text = "a b. c d"
    cut = sentences(text)
    assert end_tokens(text, cut, [(0, 1), (1, 3), (3, 4), (4, 6), (6, 8)]) == [2, 4]
    assert end_tokens(text, cut, [(0, 1), (1, 6), (6, 8)]) == [1, 2]  # a token that reaches into the next segment
    assert end_tokens(text, cut, [(0, 8)]) == [0, 0]
    assert end_tokens(text, cut, [(0, 1), (1, 4), (4, 6)]) == [1, None]  # cut off
    assert end_tokens("a 👍", sentences("a 👍"), [(0, 1), (1, 3), (2, 3), (2, 3)]) == [3]  # parts of one character


@settings(max_examples=50, deadline=None)
@given(text=texts, size=st.integers(1, 5))
def test_with_any_tokenizer_every_segment_ends_in_order_and_not_before_its_last_character(plain_tokenizer, text, size):
    cut = of_words(size)(text)
    offsets = plain_tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    found = end_tokens(text, cut, offsets)
    assert None not in found
    assert found == sorted(found)
    for segment, token in zip(cut, found, strict=True):
        start, end = offsets[token]
        assert start <= last_character(text, segment) < end


# --- what marks make of them


def test_a_segment_with_any_marked_character_is_err():
    text = "It was red, as all of them are. It is not so today."
    cut = sentences(text)
    assert verdicts(text, cut, [mark(text, "red")], shortest=1) == [ERR, OK]
    across = {"start": text.index("are"), "end": text.index("is not")}
    assert verdicts(text, cut, [across], shortest=1) == [ERR, ERR]
    space = {"start": text.index("are"), "end": text.index("It is")}  # reaches over the space, not into a word
    assert verdicts(text, cut, [space], shortest=1) == [ERR, OK]


def test_a_short_mark_of_relevance_is_dropped_and_one_of_facts_is_kept():
    text = "It was made in the year 1999. It is not so today."
    cut = sentences(text)
    assert verdicts(text, cut, [mark(text, "made in the year")]) == [OK, OK]  # four words
    assert verdicts(text, cut, [mark(text, "made in the year 1999")]) == [ERR, OK]
    assert verdicts(text, cut, [mark(text, "1999")], facts=True) == [ERR, OK]


def test_facts_of_a_sentence_that_only_another_category_marks_were_not_judged():
    text = "It was made in the year 1999. It is not so today at all. Nor is that. The end has come."
    cut = sentences(text)
    others = [mark(text, "was made in the year 1999."), mark(text, "is not so today at all"), mark(text, "Nor")]
    found = verdicts(text, cut, [mark(text, "1999")], others, facts=True)
    assert found == [ERR, None, OK, OK]  # the last of them is too short to count
    assert verdicts(text, cut, others[:2], [mark(text, "1999")]) == [ERR, ERR, OK, OK]  # relevance ignores nothing


def test_what_is_missing_stands_in_the_segment_of_its_place():
    text = "One is here. Two is not."
    cut = sentences(text)
    assert verdicts(text, cut, [{"start": 4, "end": 4}]) == [ERR, OK]
    assert verdicts(text, cut, [{"start": len(text), "end": len(text)}]) == [OK, ERR]
    assert verdicts("", [], [{"start": 0, "end": 0}]) == []


@pytest.mark.skipif(not QA_FEEDBACK.exists(), reason="shared/data/qa_feedback is not beside the checkout")
def test_the_real_marks_give_the_cards_counts():
    relevance, facts = Counter(), Counter()
    for example in json.loads(QA_FEEDBACK.read_text()):
        text, marks = example["prediction 1"], example["feedback"]["errors"]
        of = {
            name: [one for one in marks if one["error type"] in kinds]
            for name, kinds in (("relevance", RELEVANCE), ("facts", FACTUALITY))
        }
        relevance.update(verdicts(text, clauses(text), of["relevance"]))
        facts.update(verdicts(text, sentences(text), of["facts"], of["relevance"], facts=True))
    assert relevance.total() == pytest.approx(1945, rel=0.02)
    assert relevance[ERR] / relevance.total() == pytest.approx(0.51, abs=0.01)
    assert facts.total() == pytest.approx(1200, rel=0.03)
    assert facts[ERR] / (facts[ERR] + facts[OK]) == pytest.approx(0.33, abs=0.01)
    assert facts[None] == pytest.approx(608, rel=0.03)
