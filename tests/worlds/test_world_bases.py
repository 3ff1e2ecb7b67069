"""The tiny bases of the toy worlds: whole words, careless as their world's writers, the same from the same seed."""

import hashlib
import os
from collections import Counter
from dataclasses import replace

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch

from tests.worlds.bases import base_of
from training.engine.chats import render_chat
from training.engine.policy import Policy
from training.engine.rollouts import Sampling, sample
from training.engine.scoring import prompt_ids
from training.engine.templates import examine_template
from training.engine.world_bases import SIZES, build_world_base, word_tokenizer
from training.worlds.registry import world


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def drawn(spec, count=100, each=4, tokens=18):
    known, policy = world(spec), Policy.open(base_of(spec), None)
    prompts = known.prompts(count, seed=5)
    ids = [prompt_ids(policy.tokenizer, one.messages, one.context, passage_tokens=0) for one in prompts]
    answers = sample(policy, ids, each, sampling=Sampling(max_tokens=tokens, temperature=1.0), seed=1)
    return known, [(prompts[one.prompt], one) for one in answers]


@pytest.mark.parametrize("spec", ["words:hard", "digits", "cycles"])
def test_every_word_of_the_world_is_one_token_wherever_it_stands(spec):
    known = world(spec)
    tokenizer = word_tokenizer(known.whole_words)
    for prompt, text in known.corpus(20):
        chat = render_chat(tokenizer, prompt.messages, response=text)
        assert len(chat.completion_ids) == len(text.split()) + 1
        assert [text[start:end].strip() for start, end in chat.response_offsets] == text.split()
        assert tokenizer.decode(chat.completion_ids[:-1]) == text
        asked = len(prompt.messages[0]["content"].split())
        assert len(chat.prompt_ids) == asked + 3


def test_any_other_text_comes_back_too_and_the_template_can_be_trained_on():
    tokenizer = word_tokenizer(world("words").whole_words)
    for text in (
        "“rain”: has nothing to do with it.\nNot yet.",
        '{"good": ["rain"]}',
        "Łukasz ليلى 👩\u200d🌾 e\u0301",
    ):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text
    assert examine_template(tokenizer).refused is None


def test_the_base_of_words_starts_at_35_35_30_percent_with_12_words():
    known, answers = drawn("words")
    kinds = Counter(one.kind for prompt, answer in answers for one in known.heard(prompt, answer.text))
    total = sum(kinds.values())
    shares = [kinds[kind] / total for kind in ("own", "foreign_word", "filler")]
    assert shares == pytest.approx([0.35, 0.35, 0.3], abs=0.04)
    assert sum(len(answer.text.split()) == 12 for _, answer in answers) / len(answers) > 0.9
    assert sum(answer.finished for _, answer in answers) / len(answers) > 0.98
    quality = [known.true_quality(prompt, answer.text) for prompt, answer in answers]
    assert sum(quality) / len(quality) == pytest.approx(0.5, abs=0.04)


def test_the_base_of_cycles_says_each_of_the_six_answers_about_as_often():
    known, answers = drawn("cycles", count=120, tokens=4)
    said = Counter(known.role(prompt, answer.text) for prompt, answer in answers)
    assert said[None] / len(answers) < 0.03
    assert all(said[role] / len(answers) == pytest.approx(1 / 6, abs=0.06) for role in range(6))


@pytest.mark.slow
def test_the_base_of_digits_is_right_as_a_whole_in_8_to_12_percent():
    known, answers = drawn("digits", count=1000, each=4, tokens=6)
    right = [known.true_quality(prompt, answer.text) for prompt, answer in answers]
    assert sum(right) / len(right) == pytest.approx(0.1, abs=0.02)


def test_the_same_seed_gives_the_same_files(tmp_path):
    small = replace(SIZES["cycles"], rows=1920)
    found = []
    for name in ("one", "two", "other"):
        folder = tmp_path / name
        folder.mkdir()
        build_world_base(folder, "cycles", seed=1 if name == "other" else 0, size=small)
        found.append(hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest())
    assert found[0] == found[1]
    assert found[0] != found[2]
