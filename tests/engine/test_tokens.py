"""Chats as ids with a mask, marks on characters as weights on tokens, and back."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.shared import shared
from training.engine.tokens import (
    Span,
    TemplateRefused,
    check_template,
    render_chat,
    spans_to_token_weights,
    token_weights_to_spans,
)

ASK = [{"role": "user", "content": "Who sat on the moon?"}]
QA_FEEDBACK = shared("data/qa_feedback/feedback.json")

# What breaks those who count bytes, UTF-16 units or glyphs.
hard = st.sampled_from(
    [
        "👩‍🌾",
        "👍🏽",
        "🇩🇪",
        "e\u0301",
        "ُِّم",
        "مرحبا",
        "שלום",
        "\r\n",
        "\n",
        "𝒳",
        "𐍈",
        "  ",
        "\u200b",
        "ﬁ",
        "日本",
        "—",
        " the",
        "cat",
        "x.y",
        ",",
    ]
)
texts = st.lists(st.one_of(hard, st.text(st.characters(exclude_categories=["Cs"]), max_size=6)), max_size=14).map(
    "".join
)


def offsets_of(tokenizer, text):
    return render_chat(tokenizer, ASK, response=text).response_offsets


def weights_of(tokenizer, text, spans, **options):
    return spans_to_token_weights(text, offsets_of(tokenizer, text), spans, **options)


def words_with_weights(tokenizer, text, weights):
    """Weights of the words of a text that the tokenizer may split into many tokens."""
    by_place = {}
    for (start, end), weight in zip(offsets_of(tokenizer, text), weights, strict=False):
        by_place.update(dict.fromkeys(range(start, end), weight))
    return by_place


# --- chats


@given(text=texts)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_answer_is_found_whole_in_its_chat_and_the_stop_token_is_trained(plain_tokenizer, text):
    chat = render_chat(plain_tokenizer, ASK, response=text)
    assert chat.text[chat.response_start : chat.response_end] == text
    assert plain_tokenizer.decode(chat.completion_ids) == text + "<|end|>"
    assert chat.completion_ids[-1] == plain_tokenizer.eos_token_id
    covered = {place for start, end in chat.response_offsets for place in range(start, end)}
    assert covered == set(range(len(text)))


@given(text=texts)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_training_sees_the_prompt_that_sampling_saw_token_for_token(plain_tokenizer, text):
    asked = render_chat(plain_tokenizer, ASK, response=None)
    answered = render_chat(plain_tokenizer, ASK, response=text)
    assert answered.prompt_ids == asked.ids
    assert not any(answered.completion_mask[: len(asked.ids)])


def test_only_the_last_answer_of_a_conversation_is_trained(plain_tokenizer):
    turns = [*ASK, {"role": "assistant", "content": "The cat."}, {"role": "user", "content": "Sure?"}]
    chat = render_chat(plain_tokenizer, turns, response="The cat.")
    assert plain_tokenizer.decode(chat.completion_ids) == "The cat.<|end|>"
    assert chat.text.count("The cat.") == 2
    assert chat.response_start == chat.text.rindex("The cat.")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (None, "no chat template"),
        ("{% for m in messages %}{{ m['content'] | upper }}<|end|>{% endfor %}", "alters the answer"),
        ("{% for m in messages %}{{ m['content'] }}{% endfor %}", "without a stop token"),
        (
            "{% for m in messages %}{{ loop.length }}{{ m['content'] }}<|end|>{% endfor %}",
            "differently before an answer",
        ),
        ("{{ raise_exception('roles must alternate') }}", "refuses this conversation: roles must alternate"),
    ],
)
def test_a_template_that_cannot_be_trained_on_is_refused_with_its_reason(
    plain_tokenizer, monkeypatch, template, reason
):
    assert check_template(plain_tokenizer) is None
    monkeypatch.setattr(plain_tokenizer, "chat_template", template)
    assert reason in check_template(plain_tokenizer)
    with pytest.raises(TemplateRefused):
        render_chat(plain_tokenizer, ASK, response="Hm.")


def test_an_answer_that_would_melt_into_the_prompt_keeps_the_border(plain_tokenizer, monkeypatch):
    """A prompt that ends in a letter: one pass over the whole text would read `hel` + `lo` as one token."""
    monkeypatch.setattr(
        plain_tokenizer,
        "chat_template",
        "{% for m in messages %}{{ m['content'] }}<|end|>{% if m['role'] == 'user' %} hel{% endif %}{% endfor %}",
    )
    one_pass = plain_tokenizer("Hi<|end|> hello<|end|>", add_special_tokens=False)["input_ids"]
    asked = render_chat(plain_tokenizer, [{"role": "user", "content": "Hi"}], response=None)
    assert one_pass[: len(asked.ids)] != asked.ids
    chat = render_chat(plain_tokenizer, [{"role": "user", "content": "Hi"}], response="lo")
    assert chat.prompt_ids == asked.ids
    assert plain_tokenizer.decode(chat.completion_ids) == "lo<|end|>"
    assert chat.response_offsets[0][0] == 0
    assert chat.response_offsets[-1][1] == 2


# --- spans to tokens


def test_the_worked_example_of_text2grad(plain_tokenizer):
    text = "The cat sat on the moon."
    weights = weights_of(plain_tokenizer, text, [Span(4, 11, 1.0), Span(19, 23, -1.0)])
    at = words_with_weights(plain_tokenizer, text, weights)
    firsts = {word: at[text.index(word)] for word in ("The", "cat", "sat", "on ", "the", "moon")}
    assert firsts == {"The": 0, "cat": 1, "sat": 1, "on ": 0, "the": 0, "moon": -1}
    assert at[text.index(".")] == 0
    assert weights[-1] == 0  # the stop token


@given(text=texts, data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_token_belongs_to_a_span_when_it_holds_a_character_of_it_that_is_not_a_space(plain_tokenizer, text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    offsets = offsets_of(plain_tokenizer, text)
    weights = spans_to_token_weights(text, offsets, [Span(start, end, -1.0)], words_only=False)
    assert len(weights) == len(offsets) + 1
    if start == end:
        assert sum(map(bool, weights)) == 1  # exactly one token carries what is missing
        return
    for (left, right), weight in zip(offsets, weights, strict=False):
        holds = any(start <= place < end and not text[place].isspace() for place in range(left, right))
        assert weight == (-1.0 if holds else 0.0)


@given(text=texts, data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_span_comes_back_as_the_same_text_but_for_spaces_when_it_cuts_no_token(plain_tokenizer, text, data):
    offsets = offsets_of(plain_tokenizer, text)
    borders = sorted({0, len(text), *(place for pair in offsets for place in pair)})
    whole = [b for b in borders if not any(left < b < right for left, right in offsets)]
    start = data.draw(st.sampled_from(whole))
    end = data.draw(st.sampled_from([border for border in whole if border >= start]))
    weights = spans_to_token_weights(text, offsets, [Span(start, end, 1.0)], words_only=False)
    found = token_weights_to_spans(text, offsets, weights)
    if text[start:end].strip():
        assert [text[one.start : one.end] for one in found] == [text[start:end].strip()]
        assert found[0].score == 1.0


def test_something_missing_weighs_on_the_token_that_follows_and_at_the_end_on_the_stop_token(plain_tokenizer):
    text = "The cat sat. The moon"
    for place, follower in [(0, "The"), (12, "The moon"), (13, "The moon"), (3, "cat")]:
        weights = weights_of(plain_tokenizer, text, [Span(place, place, -1.0)])
        (token,) = [index for index, weight in enumerate(weights) if weight]
        start, end = offsets_of(plain_tokenizer, text)[token]
        assert follower.startswith(text[start:end].strip()), (place, text[start:end])
    assert weights_of(plain_tokenizer, text, [Span(21, 21, -1.0)])[-1] == -1.0
    assert spans_to_token_weights("", [], [Span(0, 0, -1.0)]) == [-1.0]


def test_punctuation_weighs_nothing_unless_asked_for(plain_tokenizer):
    text = "moon, moon."
    spans = [Span(0, len(text), -1.0)]
    words = words_with_weights(plain_tokenizer, text, weights_of(plain_tokenizer, text, spans))
    everything = words_with_weights(plain_tokenizer, text, weights_of(plain_tokenizer, text, spans, words_only=False))
    assert (words[4], words[10]) == (0, 0)
    assert (everything[4], everything[10]) == (-1, -1)


def test_where_signs_meet_the_option_says_who_wins(plain_tokenizer):
    spans = [Span(0, 4, 1.0), Span(0, 4, -1.0)]
    first = {
        rule: weights_of(plain_tokenizer, "moon", spans, sign_conflict=rule)[0]
        for rule in ("negative", "positive", "mean")
    }
    assert first == {"negative": -1.0, "positive": 1.0, "mean": 0.0}


def test_several_annotators_are_averaged_and_those_who_marked_nothing_count_when_named(plain_tokenizer):
    spans = [Span(0, 4, -1.0, author="ada"), Span(0, 4, 1.0, author="ben"), Span(0, 4, -1.0, author="mia")]
    assert weights_of(plain_tokenizer, "moon", spans)[0] == pytest.approx(-1 / 3)
    assert weights_of(plain_tokenizer, "moon", spans[:1], annotators=4)[0] == pytest.approx(-0.25)
    twice = [Span(0, 4, -1.0, author="ada"), Span(0, 2, -1.0, author="ada")]
    assert weights_of(plain_tokenizer, "moon", twice)[0] == -1.0  # one person marking twice says it once


def test_a_span_outside_the_text_is_refused(plain_tokenizer):
    with pytest.raises(ValueError, match="3-9 does not lie in a text of 4 characters"):
        weights_of(plain_tokenizer, "moon", [Span(3, 9, -1.0)])


@pytest.mark.skipif(not QA_FEEDBACK.exists(), reason="../shared/data is not here")
def test_all_988_real_spans_map_to_tokens_and_back_to_the_same_text():
    from transformers import AutoTokenizer

    from training.engine.smollm2 import packaged_weights

    file = packaged_weights()
    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    count = 0
    for example in json.loads(QA_FEEDBACK.read_text()):
        text = example["prediction 1"]
        offsets = render_chat(tokenizer, ASK, response=text).response_offsets
        for mark in example["feedback"]["errors"]:
            span = Span(mark["start"], mark["end"], -1.0)
            weights = spans_to_token_weights(text, offsets, [span], words_only=False)
            assert sum(map(bool, weights)) >= 1
            assert any(spans_to_token_weights(text, offsets, [span]))  # with words only, too
            (back,) = token_weights_to_spans(text, offsets, weights)
            assert text[back.start : back.end] == text[span.start : span.end].strip()
            count += 1
    assert count == 988
