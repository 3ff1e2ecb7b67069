"""Whole conversations, plain completions, and the mask as a page shows it."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.chat_templates import GOOD, tokenizer_of
from training.engine.chats import (
    common_prefix,
    mask_segments,
    render_answers,
    render_chat,
    render_completion,
    render_conversation,
    stop_ids,
)

STABLE = [kind for kind in GOOD if kind != "qwen3"]
words = st.sampled_from(["The cat.", "💧", "مرحبا", "e\u0301 a", "x.y", "日本", "two\nlines", "a  b", "👩‍🌾"])
talks = st.lists(st.tuples(words, words), min_size=1, max_size=4).map(
    lambda turns: [
        message
        for said, answered in turns
        for message in ({"role": "user", "content": said}, {"role": "assistant", "content": answered})
    ]
)


@pytest.fixture(scope="module")
def tokenizers():
    return {kind: tokenizer_of(kind) for kind in GOOD}


@pytest.mark.parametrize("kind", STABLE)
@given(talk=talks)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
def test_every_answer_of_a_conversation_is_trained_with_its_stop_token_and_nothing_else_is(tokenizers, kind, talk):
    tokenizer = tokenizers[kind]
    whole = render_conversation(tokenizer, talk)
    answers = [message["content"] for message in talk if message["role"] == "assistant"]
    assert len(whole.answers) == len(answers)
    for (start, end), text in zip(whole.answers, answers, strict=True):
        assert all(whole.completion_mask[start:end])
        assert whole.ids[end - 1] in stop_ids(tokenizer)
        *body, stop = whole.ids[start:end]
        assert tokenizer.decode(body).strip() == text
        assert stop not in body
    assert sum(whole.completion_mask) == sum(end - start for start, end in whole.answers)
    assert len(whole.ids) == len(whole.offsets) == len(whole.completion_mask)


@pytest.mark.parametrize("kind", STABLE)
@given(talk=talks)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
def test_a_conversation_begins_with_itself_as_it_was_some_turns_ago_token_for_token(tokenizers, kind, talk):
    tokenizer = tokenizers[kind]
    whole = render_conversation(tokenizer, talk)
    for turns in range(2, len(talk), 2):
        earlier = render_conversation(tokenizer, talk[:turns])
        assert whole.ids[: len(earlier.ids)] == earlier.ids
        assert whole.completion_mask[: len(earlier.ids)] == earlier.completion_mask
    for (start, _), place in zip(whole.answers, range(1, len(talk), 2), strict=True):
        asked = render_chat(tokenizer, talk[:place], response=None)
        assert whole.ids[:start] == asked.ids  # the prompt that a sampler would have been given for this very turn


def test_only_the_last_answer_is_trained_when_that_is_asked(tokenizers):
    talk = [
        {"role": "user", "content": "Hm?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "So?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "unanswered"},
    ]
    last = render_conversation(tokenizers["chatml"], talk, train="last")
    (answer,) = last.answers
    assert answer[0] == len(render_chat(tokenizers["chatml"], talk[:3], response=None).ids)
    assert [one.text for one in mask_segments(last) if one.trained] == ["Yes.<|im_end|>"]
    assert "unanswered" not in last.text
    assert len(render_conversation(tokenizers["chatml"], talk).answers) == 2


def test_what_a_tool_says_is_not_trained_and_the_call_that_the_model_makes_is(tokenizers):
    call = {"function": {"name": "look", "arguments": {"at": "moon"}}}
    talk = [
        {"role": "user", "content": "Who sat?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "The cat."},
        {"role": "assistant", "content": "The cat."},
    ]
    (row,) = render_answers(tokenizers["llama3"], talk)
    trained = [one.text for one in mask_segments(row) if one.trained]
    assert trained[0].endswith("}<|eot_id|>")
    assert '"look"' in trained[0]
    assert trained[1:] == ["The cat.<|eot_id|>"]
    assert [one.text.count("The cat.") for one in mask_segments(row)] == [0, 0, 1, 1]


def test_a_conversation_without_an_answer_has_nothing_to_train_on(tokenizers):
    with pytest.raises(ValueError, match="nothing to train on"):
        render_conversation(tokenizers["chatml"], [{"role": "user", "content": "Hm?"}])


@pytest.mark.parametrize("kind", STABLE)
@given(talk=talks)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=10)
def test_the_coloured_mask_is_the_whole_text_in_runs(tokenizers, kind, talk):
    whole = render_conversation(tokenizers[kind], talk)
    runs = mask_segments(whole)
    assert "".join(run.text for run in runs) == whole.text
    assert [run.trained for run in runs] == [place % 2 == 1 for place in range(len(runs))]
    assert len([run for run in runs if run.trained]) == len(talk) // 2


# --- text without a template


def test_where_prompt_and_completion_melt_into_one_token_the_border_is_the_longest_common_beginning(tokenizers):
    tokenizer = tokenizers["chatml"]
    merged = render_completion(tokenizer, "She said hel", "lo, and good day")
    alone = tokenizer("She said hel", add_special_tokens=False)["input_ids"]
    assert merged.prompt_ids != alone
    assert merged.prompt_ids == alone[: common_prefix(alone, merged.ids)]
    assert tokenizer.decode(merged.ids) == "She said hello, and good day<|endoftext|>"
    assert tokenizer.decode(merged.prompt_ids) == "She said"
    assert merged.ids[:-1] == tokenizer("She said hello, and good day", add_special_tokens=False)["input_ids"]


@given(prompt=words, completion=words)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_a_completion_keeps_every_character_on_one_side_or_the_other(tokenizers, prompt, completion):
    chat = render_completion(tokenizers["chatml"], f"{prompt} ", completion)
    assert chat.completion_mask == sorted(chat.completion_mask)
    assert "".join(run.text for run in mask_segments(chat)) == f"{prompt} {completion}"
    covered = {place for start, end in chat.response_offsets for place in range(start, end)}
    assert covered == set(range(len(completion)))
    assert render_completion(tokenizers["chatml"], f"{prompt} ", completion, stop=False).ids == chat.ids[:-1]


def test_common_prefix():
    assert common_prefix([1, 2, 3], [1, 2, 4]) == 2
    assert common_prefix([1, 2], [1, 2, 4]) == 2
    assert common_prefix([], [1]) == 0
