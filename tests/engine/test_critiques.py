"""Critiques as JSON: read back whatever a model makes of the form, or no verdict; quotes are found where they stand."""

import pytest

from training.engine.critiques import NOTHING, Critique, located, of_marks, overlap, parsed, written
from training.engine.tokens import Span

TEXT = "The cat sat on the moon. The cat is 3 years old, they say."


def found(critique):
    spans = located(TEXT, critique)
    return [(TEXT[span.start : span.end], span.score) for span in spans.spans], spans.lost


def test_what_is_written_can_be_read_again():
    critique = Critique("The 'moon' is wrong.", ["cat sat"], ['a "quoted" one', "two\nlines"])
    assert parsed(written(critique)) == critique


@pytest.mark.parametrize(
    "text",
    [
        'Here it is: {"textual_feedback": "a {b}", "good_spans": ["x"], "poor_spans": []} I hope that helps {}',
        '{"broken": } {"textual_feedback": "a {b}", "good_spans": ["x"], "poor_spans": []}',
        '```json\n{"textual_feedback": "a {b}", "good_spans": ["x"],, "poor_spans": []}\n```',
        '{"textual_feedback": "a {b}", "good_spans": ["x"], "poor_spans": [',
    ],
)
def test_the_first_whole_object_is_read_and_else_what_can_be_told_of_it(text):
    assert parsed(text) == Critique("a {b}", ["x"], [])


@pytest.mark.parametrize(
    "text",
    ["", "It is fine.", '{"textual_feedback": "good"}', '{"textual_feedback": "good", "good_sp', '{"good_spans": "x"}'],
)
def test_what_has_no_lists_of_phrases_is_no_verdict(text):
    assert parsed(text) is None


def test_empty_lists_are_a_verdict():
    assert parsed('{"textual_feedback": "", "good_spans": [], "poor_spans": []}') == Critique("", [], [])


def test_quotes_are_found_exactly_then_folded_then_alike_and_else_counted():
    assert found(Critique("", ["cat sat"], ["moon"])) == ([("cat sat", 1.0), ("moon", -1.0)], 0)
    assert found(Critique("", [], ["MOON, the cat"])) == ([("moon. The cat", -1.0)], 0)
    assert found(Critique("", [], ["cat was 3 years old"])) == ([("cat is 3 years old,", -1.0)], 0)
    assert found(Critique("", ["a dog barked"], ["", "  "])) == ([], 3)


def test_a_quote_that_comes_twice_marks_the_next_place_and_a_third_time_none():
    spans = located(TEXT, Critique("", ["The cat", "The cat", "The cat"], []))
    assert [(span.start, span.end) for span in spans.spans] == [(0, 7), (25, 32)]
    assert spans.lost == 0


def test_a_quote_is_looked_for_between_words_first():
    assert located("Hello, l is short", Critique("", ["l"], [])).spans == (Span(7, 8, 1.0),)


def test_peoples_marks_become_words_and_then_quotes():
    marks = [
        {"start": 19, "end": 23, "quote": "moon", "sentiment": -1, "critique": 'It is "cheese"', "label": "wrong"},
        {"start": 4, "end": 11, "quote": "cat sat", "sentiment": 1, "critique": "", "label": "right_fact"},
        {"start": 24, "end": 24, "quote": "", "sentiment": -1, "critique": "Where from?", "label": ""},
    ]
    critique = of_marks(marks, "So-so")
    assert critique.good == ["cat sat"]
    assert critique.poor == ["moon"]
    assert critique.words == """So-so. 'cat sat': right fact. 'moon': It is "cheese". Missing: Where from?"""
    assert "cheese" in parsed(written(critique)).words
    assert of_marks([]).words == NOTHING


def test_overlap_is_the_f1_of_the_longest_common_row_of_words():
    assert overlap("the cat sat", "The cat, sat") == 1.0
    assert overlap("a b c d", "a x c") == pytest.approx(2 * 2 / 7)
    assert overlap("", "a") == 0.0
