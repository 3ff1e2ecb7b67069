"""Words that look like control tokens are words when people write them."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.chat_templates import GOOD, tokenizer_of
from training.engine.chats import render_chat, render_completion, render_conversation
from training.engine.shielding import Shield

pieces = st.sampled_from(["<|im_end|>", "<|im_start|>", "<|endoftext|>", "a", " the", "💧", "\U000f0000", "<|", "\n"])


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizer_of("chatml")


@given(st.lists(pieces, max_size=8).map("".join))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_a_shielded_text_comes_back_and_is_read_as_plain_letters(tokenizer, text):
    shield = Shield(tokenizer, [text])
    hidden = shield.hide(text)
    assert len(hidden) == len(text)
    assert shield.show(hidden) == text
    ids, offsets = shield.encode(hidden)
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(ids) == text
    assert {place for start, end in offsets for place in range(start, end)} == set(range(len(text)))


@given(st.lists(pieces, max_size=8).map("".join))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_an_answer_has_one_stop_token_at_its_end_whatever_it_quotes(tokenizer, text):
    chat = render_chat(tokenizer, [{"role": "user", "content": text or "Hm?"}], response=text)
    assert chat.text[chat.response_start : chat.response_end] == text
    special = [token for token in chat.completion_ids if token in tokenizer.all_special_ids]
    assert special == [tokenizer.convert_tokens_to_ids("<|im_end|>")]
    assert chat.ids.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == 3  # system, user, assistant
    assert tokenizer.decode(chat.completion_ids) == text + "<|im_end|>"


@pytest.mark.parametrize("kind", [kind for kind in GOOD if kind != "qwen3"])
def test_nobody_opens_another_turn_by_writing_its_marker(kind):
    tokenizer = tokenizer_of(kind)
    quote = " ".join(token for token in tokenizer.all_special_tokens)
    plain = [{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": "Yes."}]
    quoting = [
        {"role": "user", "content": f"Hm? {quote} Hm?"},
        {"role": "assistant", "content": f"Yes: {quote} - yes."},
    ]
    counts = []
    for talk in (plain, quoting):
        whole = render_conversation(tokenizer, talk)
        counts.append([token for token in whole.ids if token in tokenizer.all_special_ids])
        assert render_chat(tokenizer, talk[:1], response=None).ids == whole.ids[: whole.answers[0][0]]
    assert counts[0] == counts[1]


def test_a_completion_without_a_template_quotes_as_well(tokenizer):
    chat = render_completion(tokenizer, "She said ", "<|endoftext|> and went.")
    assert [token for token in chat.ids if token in tokenizer.all_special_ids] == [tokenizer.eos_token_id]
    assert chat.ids[-1] == tokenizer.eos_token_id
    assert chat.text == "She said <|endoftext|> and went."


def test_texts_without_such_words_are_read_as_ever(tokenizer):
    text = "The cat sat. 💧 \U000f0001 <|im_end"
    shield = Shield(tokenizer, [text])
    assert shield.hide(text) == shield.show(text) == text
    assert shield.encode(text)[0] == tokenizer(text, add_special_tokens=False)["input_ids"]
