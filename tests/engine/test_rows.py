"""Rows from stored ids, and answers that are compared."""

import pytest

from tests.engine.chat_templates import tokenizer_of
from training.engine.chats import encode, render_chat, render_conversation
from training.engine.packs import Row, lay_out
from training.engine.rows import PromptsDiffer, comparison, row_from_ids, row_of_chat

ASK = [{"role": "user", "content": "Who sat?"}]


def test_sampled_ids_are_trained_as_they_were_sampled_with_the_samplers_log_probabilities():
    row = row_from_ids("r", [5, 6, 7], [8, 9, 2], logprobs=[-0.5, -1.0, -0.1], of_row={"advantage": 2.0})
    pack = lay_out([row])
    assert pack.token_ids.tolist() == [8, 9, 2]
    assert pack.flat("old").tolist() == pytest.approx([-0.5, -1.0, -0.1])
    assert pack.by_row("advantage").tolist() == [2.0]


def test_tokens_that_text_would_not_be_read_as_again_stay_as_they_are():
    tokenizer = tokenizer_of("chatml")
    split = [token for letter in "the cat" for token in encode(tokenizer, letter)[0]]
    text = tokenizer.decode(split)
    assert encode(tokenizer, text)[0] != split  # as text they would be fewer tokens
    prompt = render_chat(tokenizer, ASK, response=None).ids
    row = row_from_ids("r", prompt, split)
    assert [token for token, trained in zip(row.ids, row.trained, strict=True) if trained] == split
    assert row.ids[: len(prompt)] == prompt


def test_what_the_environment_said_in_between_is_not_trained():
    row = row_from_ids("r", [5, 6], [8, 1, 7, 9], logprobs=[-1.0, -2.0], written=[True, False, False, True])
    assert row.trained == [False, False, True, False, False, True]
    assert lay_out([row]).flat("old").tolist() == [-1.0, -2.0]


def test_counts_that_do_not_fit_are_refused_with_the_records_name():
    with pytest.raises(ValueError, match="answer 7: 1 log-probabilities for 2 sampled tokens"):
        row_from_ids("answer 7", [5], [6, 7], logprobs=[-1.0])
    with pytest.raises(ValueError, match="answer 7: 2 tokens of the completion but a mask of 1"):
        row_from_ids("answer 7", [5], [6, 7], written=[True])


def test_a_pair_whose_prompts_differ_is_refused_naming_it():
    tokenizer = tokenizer_of("chatml")
    other = [{"role": "user", "content": "Who stood?"}]
    chosen = row_of_chat("pair 3 chosen", render_chat(tokenizer, ASK, response="The cat."))
    rejected = row_of_chat("pair 3 rejected", render_chat(tokenizer, ASK, response="A dog."))
    assert comparison([chosen, rejected]) == [chosen, rejected]
    stranger = row_of_chat("pair 3 rejected", render_chat(tokenizer, other, response="A dog."))
    with pytest.raises(PromptsDiffer, match="pair 3 rejected and pair 3 chosen .* differ from token"):
        comparison([chosen, stranger])
    cut = Row("pair 3 rejected", rejected.ids[2:], rejected.trained[2:])
    with pytest.raises(PromptsDiffer, match="differ from token 0"):
        comparison([chosen, cut])


def test_a_conversation_becomes_one_row(tmp_path):
    talk = [*ASK, {"role": "assistant", "content": "The cat."}, *ASK, {"role": "assistant", "content": "A cat."}]
    chat = render_conversation(tokenizer_of("phi3"), talk)
    row = row_of_chat("talk", chat, weights=[1.0] * sum(chat.completion_mask))
    assert lay_out([row]).flat("weights").sum().item() == sum(chat.completion_mask)
