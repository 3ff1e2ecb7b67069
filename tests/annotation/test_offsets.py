"""Code points and UTF-16 units; text that cannot be stored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation import offsets, text
from annotation.errors import BadValue, Unstorable

SHARED = json.loads((Path(__file__).parent / "offset_vectors.json").read_text("utf-8"))
# what goes wrong elsewhere: ZWJ families, flags, skin tones, combining marks, right to left, CRLF, astral letters
AWKWARD = ["👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "e\u0301", "मनीष", "السلام", "שָׁלוֹם", "\r\n", "𝒳", "\u200b", "﷽", "a", " "]
storable = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = st.lists(st.sampled_from(AWKWARD) | st.text(storable, max_size=4), max_size=12).map("".join)


@pytest.mark.parametrize("vector", SHARED["vectors"], ids=lambda vector: vector["note"])
def test_the_vectors_that_the_browser_is_tested_with(vector):
    whole, start, end = vector["text"], vector["start"], vector["end"]
    assert whole[start:end] == vector["quote"]
    units = (vector["utf16_start"], vector["utf16_end"])
    assert offsets.span_to_utf16(whole, start, end) == units
    assert offsets.span_from_utf16(whole, *units) == (start, end)


@pytest.mark.parametrize("half", SHARED["halves"])
def test_half_a_surrogate_pair_is_refused(half):
    with pytest.raises(BadValue, match="splits the surrogate pair") as refusal:
        offsets.from_utf16(half["text"], half["utf16"])
    assert refusal.value.code == "offset.half_pair"


@pytest.mark.parametrize("place", SHARED["outside"])
def test_a_place_outside_the_text_is_refused(place):
    for convert, position in ((offsets.to_utf16, place["position"]), (offsets.from_utf16, place["utf16"])):
        with pytest.raises(BadValue, match="outside the text"):
            convert(place["text"], position)


@given(before=texts, quote=texts, after=texts)
def test_a_span_is_the_same_phrase_in_the_browser_and_in_python(before, quote, after):
    whole, start, end = before + quote + after, len(before), len(before) + len(quote)
    units = offsets.span_to_utf16(whole, start, end)
    browser = whole.encode("utf-16-le")[2 * units[0] : 2 * units[1]].decode("utf-16-le")
    assert browser == quote
    assert offsets.span_from_utf16(whole, *units) == (start, end)


@given(texts)
def test_every_unit_is_a_place_or_half_a_pair(whole):
    places, halves = [], 0
    for unit in range(offsets.utf16_length(whole) + 1):
        try:
            places.append(offsets.from_utf16(whole, unit))
        except BadValue:
            halves += 1
    assert places == list(range(len(whole) + 1))
    assert halves == sum(character > "\uffff" for character in whole)


@given(st.text(storable))
def test_all_other_text_can_be_stored_and_comes_back_unchanged(whole):
    assert text.check(whole) is whole


@given(before=texts, bad=st.sampled_from(["\0", "\ud800", "\udbff", "\udc00", "\udfff"]), after=texts)
def test_what_postgres_cannot_hold_is_refused_by_name_and_place(before, bad, after):
    with pytest.raises(Unstorable) as refusal:
        text.check(before + bad + after, "/critique")
    place = len(before)
    assert refusal.value.data == {"position": place, "character": f"U+{ord(bad):04X}"}
    assert f"Character {place} of /critique" in refusal.value.message
    assert ("NUL" in refusal.value.message) == (bad == "\0")


def test_text_inside_json_is_checked_with_a_pointer():
    with pytest.raises(Unstorable) as refusal:
        text.check_json({"messages": [{"content": "fine"}, {"content": "a\0"}]})
    assert refusal.value.problems[0]["pointer"] == "/messages/1/content"
