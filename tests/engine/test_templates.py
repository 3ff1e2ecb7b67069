"""Chat templates of the kinds that people bring: what is refused, what is handled, and what is said about it."""

import importlib.util
import re
from pathlib import Path

import pytest

from tests.engine.chat_templates import GOOD, KINDS, tokenizer_of
from training.engine.chats import (
    TemplateRefused,
    mask_segments,
    render_answers,
    render_chat,
    render_conversation,
    stop_ids,
)
from training.engine.templates import examine_template

ASK = [{"role": "user", "content": "Who sat?"}]
SYSTEM = {"role": "system", "content": "Be brief."}
CLOSES = {
    "chatml": "<|im_end|>",
    "qwen3": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "gemma": "<end_of_turn>",
    "mistral": "</s>",
    "phi3": "<|end|>",
}
NOTED = {
    "chatml": [],
    "qwen3": ["think before it answers", "a row of its own"],
    "llama3": ["trims spaces", "today's date"],
    "gemma": ["trims spaces", "no system role"],
    "mistral": ["trims spaces", "no system role"],
    "phi3": [],
}


@pytest.fixture(scope="module")
def tokenizers():
    return {kind: tokenizer_of(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", GOOD)
def test_each_good_kind_is_taken_and_what_is_handled_for_it_is_said(tokenizers, kind):
    report = examine_template(tokenizers[kind])
    assert report.refused is None
    assert len(report.notes) == len(NOTED[kind]), report.notes
    assert all(any(words in note for note in report.notes) for words in NOTED[kind])
    trained = [one.text.strip() for one in mask_segments(report.example) if one.trained]
    assert trained == ["Good day." + CLOSES[kind]]


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("text", ["The cat.", "  spaced \n", "", "💧 مرحبا e\u0301", "<b>no tag</b>"])
def test_an_answer_stands_whole_between_its_prompt_and_the_stop_token(tokenizers, kind, text):
    """Also where the template trims: the model wrote what it wrote, and marks have their places in it."""
    tokenizer = tokenizers[kind]
    asked = render_chat(tokenizer, ASK, response=None)
    chat = render_chat(tokenizer, ASK, response=text)
    assert chat.prompt_ids == asked.ids
    assert chat.text[chat.response_start : chat.response_end] == text
    lead = " " if kind == "mistral" else ""
    assert tokenizer.decode(chat.completion_ids) == lead + text + CLOSES[kind]
    assert chat.completion_ids[-1] in stop_ids(tokenizer)
    covered = {place for start, end in chat.response_offsets for place in range(start, end)}
    assert covered == set(range(len(text)))
    assert len(chat.response_offsets) + 1 == len(chat.completion_ids)


@pytest.mark.parametrize("kind", GOOD)
def test_a_system_message_is_in_the_prompt_even_where_the_template_has_no_such_role(tokenizers, kind):
    chat = render_chat(tokenizers[kind], [SYSTEM, *ASK], response="The cat.")
    assert chat.text.count("Be brief.") == 1
    assert chat.text.index("Be brief.") < chat.text.index("Who sat?")
    assert chat.prompt_ids == render_chat(tokenizers[kind], [SYSTEM, *ASK], response=None).ids


def test_an_answer_closed_by_the_next_roles_marker_is_refused(tokenizers):
    """GLM (TRL 5988): the end of an answer would be another turn's beginning."""
    assert "only with the next turn's marker, <|user|>" in examine_template(tokenizers["glm"]).refused


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}", "words of its own"),
        (
            "{% for m in messages %}{{ loop.length ~ m.content + '<|im_end|>' }}{% endfor %}",
            "differently before an answer",
        ),
        (
            "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}",
            "without a stop token",
        ),
        (
            "{% for m in messages %}{{ m.role + ':' + m.content + '<|im_end|>' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ 'assistant' }}{% endif %}",
            "words of its own",
        ),
        ("{% for m in messages %}{{ m.content[:4] + '<|im_end|>' }}{% endfor %}", "alters the answer"),
        ("{{ messages[0].content + 1 }}", "refuses this conversation"),
    ],
)
def test_bad_kinds_are_refused_with_their_reason(template, reason):
    report = examine_template(tokenizer_of("chatml", template))
    assert reason in (report.refused or "taken")


def test_the_date_in_a_prompt_is_the_same_on_every_day(tokenizers):
    asked = render_chat(tokenizers["llama3"], ASK, response=None)
    assert "Today: 26 Jul 2024" in asked.text
    own = tokenizers["llama3"].apply_chat_template(ASK, tokenize=False)
    assert "26 Jul 2024" not in own  # without us it is today's


REAL = {  # families whose own templates come with TRL: what closes an answer, or a part of the reason of a refusal
    "qwen2_5": "<|im_end|>",
    "qwen3": "<|im_end|>",
    "qwen3_instruct_2507": "<|im_end|>",
    "qwen3_6": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "llama3_2": "<|eot_id|>",
    "gemma": "<end_of_turn>",
    "gemma3": "<end_of_turn>",
    "gemma4_v5": "<turn|>",
    "phi3": "<|end|>",
    "cohere": "<|END_OF_TURN_TOKEN|>",
    "lfm2": "<|im_end|>",
    "glm4moe": "only with the next turn's marker, <|user|>",
    "deepseek_r1_distill": "always thinks",
    "cohere2": "with <|END_RESPONSE|>, which is not known",
    "gptoss": "words of its own",
}


@pytest.mark.parametrize("family", REAL)
def test_the_templates_that_real_models_come_with(family):
    """Read from the installed TRL, which carries them for its own tests."""
    trl = importlib.util.find_spec("trl")
    if trl is None:
        pytest.skip("TRL is not installed, and with it the templates of real models")
    source = (Path(trl.origin).parent / "chat_templates" / f"{family}.jinja").read_text("utf-8")
    tokenizer = tokenizer_of("chatml", source)
    marks = set(re.findall(r"<\|[^|<>]+\|>|<\w+\|>|<(?:start|end)_of_turn>|<｜[^<>]+｜>|<\|\w+>", source))
    tokenizer.add_special_tokens({"additional_special_tokens": sorted(marks)}, replace_extra_special_tokens=False)
    tokenizer.bos_token = "<|endoftext|>"
    report = examine_template(tokenizer)
    if not REAL[family].endswith(">") or " " in REAL[family]:
        assert REAL[family] in (report.refused or "taken")
        return
    assert report.refused is None
    assert [run.text for run in mask_segments(report.example) if run.trained] == ["Good day." + REAL[family]]
    talk = [*ASK, {"role": "assistant", "content": "The cat."}, *ASK, {"role": "assistant", "content": "A cat."}]
    parts = render_answers(tokenizer, talk)
    trained = [run.text for part in parts for run in mask_segments(part) if run.trained]
    assert trained == ["The cat." + REAL[family], "A cat." + REAL[family]]


# --- a model that thinks


def test_without_thinking_the_empty_block_belongs_to_the_prompt_for_sampling_and_training_alike(tokenizers):
    chat = render_chat(tokenizers["qwen3"], ASK, response="The cat.")
    assert chat.text[: chat.response_start].endswith("<think>\n\n</think>\n\n")
    assert tokenizers["qwen3"].decode(chat.completion_ids) == "The cat.<|im_end|>"


def test_with_thinking_the_thinking_is_trained_as_the_model_wrote_it(tokenizers):
    text = "<think>\nWho? The cat.\n</think>\n\nThe cat."
    chat = render_chat(tokenizers["qwen3"], ASK, response=text, thinking=True)
    assert tokenizers["qwen3"].decode(chat.completion_ids) == text + "<|im_end|>"
    assert "think" not in chat.text[: chat.response_start]


def test_thinking_where_none_was_asked_for_and_none_where_it_was_are_refused(tokenizers):
    with pytest.raises(TemplateRefused, match="rendered with thinking on"):
        render_chat(tokenizers["qwen3"], ASK, response="<think>\nHm.\n</think>\n\nThe cat.")
    with pytest.raises(TemplateRefused, match="empty thinking block"):
        render_chat(tokenizers["qwen3"], ASK, response="The cat.", thinking=True)


def test_where_earlier_thinking_is_dropped_each_answer_becomes_a_row_as_the_sampler_saw_it(tokenizers):
    """Automodel 3739 trained empty think tags; rows that the sampler never saw are TRL 6250."""
    tokenizer = tokenizers["qwen3"]
    talk = [*ASK, {"role": "assistant", "content": "The cat."}, *ASK, {"role": "assistant", "content": "A cat."}]
    with pytest.raises(TemplateRefused, match="cannot be trained in one row"):
        render_conversation(tokenizer, talk)
    first, second = render_answers(tokenizer, talk)
    for row, before, text in ((first, talk[:1], "The cat."), (second, talk[:3], "A cat.")):
        chat = render_chat(tokenizer, before, response=text)
        assert (row.ids, row.completion_mask) == (chat.ids, chat.completion_mask)
    assert second.text.count("<think>") == 1
