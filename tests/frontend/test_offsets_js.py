"""Code points and UTF-16 units in the browser's own code, against Python's and against the shared vectors."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

KEPT = json.loads((Path(__file__).resolve().parents[1] / "annotation" / "offset_vectors.json").read_text("utf-8"))
# what goes wrong elsewhere: ZWJ families, flags, skin tones, combining marks, Arabic, CRLF, astral letters
AWKWARD = ["👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "é", "मनीष", "السلام عليكم", "שלום", "\r\n", "𝒳", "​", "﷽", "a", " ", "1️⃣"]
texts = st.lists(st.sampled_from(AWKWARD) | st.text(max_size=4), max_size=12).map("".join)
TABLE = "(p => [p.length, Array.from({length: p.length + 1}, (_, i) => p.toUnits(i))])(new m.CodePoints(a[0]))"


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


@given(texts)
@settings(max_examples=200, deadline=None)
def test_the_browser_counts_code_points_as_python_does(node, text):
    length, table = node.ask("desk/offsets.js", TABLE, text)
    assert length == len(text)
    assert table == [units(text[:i]) for i in range(len(text) + 1)]


@given(texts)
@settings(max_examples=200, deadline=None)
def test_there_and_back_is_the_same_place(node, text):
    code = "(p => Array.from({length: p.length + 1}, (_, i) => p.fromUnits(p.toUnits(i))))(new m.CodePoints(a[0]))"
    assert node.ask("desk/offsets.js", code, text) == list(range(len(text) + 1))


@given(texts, texts, texts)
@settings(max_examples=200, deadline=None)
def test_a_slice_is_the_same_phrase_in_the_browser_and_in_python(node, before, quote, after):
    code = "new m.CodePoints(a[0]).slice(a[1], a[2])"
    assert node.ask("desk/offsets.js", code, before + quote + after, len(before), len(before) + len(quote)) == quote


def test_the_middle_of_a_surrogate_pair_goes_to_its_beginning_or_end(node):
    code = "(p => [p.fromUnits(2), p.fromUnits(2, 'up')])(new m.CodePoints(a[0]))"
    assert node.ask("desk/offsets.js", code, "a😀b") == [1, 2]


@pytest.mark.parametrize("place", [-1, 4, 0.5])
def test_a_place_outside_the_text_is_refused(node, place):
    code = "(() => { try { new m.CodePoints('a😀b').toUnits(a[0]) } catch (e) { return e.name } })()"
    assert node.ask("desk/offsets.js", code, place) == "RangeError"


@given(texts, st.data())
@settings(max_examples=200, deadline=None)
def test_what_is_selected_is_made_of_whole_characters(node, text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    code = "(r => [r.whole(a[1], a[2]), r.graphemes])(new m.Reading(a[0]))"
    whole, graphemes = node.ask("desk/reading.js", code, text, start, end)
    borders = {0, len(text), *(grapheme["start"] for grapheme in graphemes)}
    assert {whole["start"], whole["end"]} <= borders
    assert whole["start"] <= start
    assert whole["end"] >= end or start == end


@pytest.mark.parametrize("vector", KEPT["vectors"], ids=lambda vector: vector["note"])
def test_the_vectors_that_python_keeps(node, vector):
    code = """(p => [p.toUnits(a[1]), p.toUnits(a[2]), p.slice(a[1], a[2]), p.fromUnits(a[3]), p.fromUnits(a[4])])
        (new m.CodePoints(a[0]))"""
    point, unit = [vector["start"], vector["end"]], [vector["utf16_start"], vector["utf16_end"]]
    assert node.ask("desk/offsets.js", code, vector["text"], *point, *unit) == [*unit, vector["quote"], *point]


@pytest.mark.parametrize("half", KEPT["halves"], ids=lambda half: repr(half["text"]))
def test_half_a_character_is_never_a_place(node, half):
    code = (
        "(p => [p.fromUnits(a[1]), p.fromUnits(a[1], 'up')].map((point) => p.toUnits(point)))(new m.CodePoints(a[0]))"
    )
    assert node.ask("desk/offsets.js", code, half["text"], half["utf16"]) == [half["utf16"] - 1, half["utf16"] + 1]


@pytest.mark.parametrize("outside", KEPT["outside"], ids=lambda outside: repr(outside["text"]))
def test_places_outside_are_refused_as_python_refuses_them(node, outside):
    code = """(p => [() => p.toUnits(a[1]), () => p.fromUnits(a[2])].map((ask) => {
        try { return ask() } catch (error) { return error.name } }))(new m.CodePoints(a[0]))"""
    found = node.ask("desk/offsets.js", code, outside["text"], outside["position"], outside["utf16"])
    assert found == ["RangeError", "RangeError"]
