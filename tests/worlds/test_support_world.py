"""The support world: the same from the same seed, and its prompts can be found again."""

import random
from collections import Counter

import pytest

from training.worlds.support import World


@pytest.fixture(scope="module")
def world():
    return World(0)


def test_a_world_is_the_same_from_the_same_seed():
    one, two = World(3), World(3)
    assert one.handbook == two.handbook
    assert [p.id for p in one.prompts(50, 7)] == [p.id for p in two.prompts(50, 7)]
    assert list(one.corpus(30, 1)) == list(two.corpus(30, 1))


def test_two_seeds_disagree_about_facts_and_product():
    one, two = World(0), World(1)
    assert one.brand != two.brand
    differing = sum(one.topics[t].pool.index(one.values[t, p]) != two.topics[t].pool.index(two.values[t, q])
                    for t in one.topics for p, q in zip(one.products, two.products, strict=True))  # fmt: skip
    assert differing > len(one.topics)


def test_the_three_sizes_of_a_product_have_different_facts(world):
    for topic in world.topics:
        assert len({world.values[topic, product] for product in world.products}) == 3


def test_there_are_thousands_of_prompts_and_no_two_are_alike(world):
    prompts = world.prompts(10_000)
    assert len(prompts) > 3000
    assert len({p.messages[0]["content"] for p in prompts}) == len(prompts)
    assert len({p.id for p in prompts}) == len(prompts)


def test_the_splits_are_about_80_10_10_and_kept_apart(world):
    shares = Counter(p.split for p in world.prompts(10_000))
    total = sum(shares.values())
    assert abs(shares["train"] / total - 0.8) < 0.03
    assert abs(shares["test"] / total - 0.1) < 0.03
    assert {p.split for p in world.prompts(100, split="test")} == {"test"}
    assert {p.split for p, _ in world.corpus(200)} == {"train"}


def test_every_prompt_is_found_again_from_what_the_database_keeps(world):
    for prompt in world.prompts(10_000):
        assert world.prompt_from(list(prompt.messages), list(prompt.context)) == prompt


def test_a_question_of_another_world_is_not_found(world):
    assert world.prompt_from([{"role": "user", "content": "How tall is the Eiffel tower?"}]) is None
    assert world.prompt_from([]) is None
    assert world.prompt_from(World(1).prompts(1)[0].messages) is None


def test_the_right_section_of_the_handbook_is_in_the_context_and_says_the_fact(world):
    for prompt in world.prompts(300):
        passage = next(passage for passage in prompt.context if passage["id"] == prompt.topic)
        assert prompt.value.split()[0] in passage["text"]
        assert all(value in passage["text"] for value in world.step_values[prompt.topic])


def test_answers_have_one_to_eight_sentences_and_a_bounded_vocabulary(world):
    words = Counter()
    for _, answer in world.corpus(2000):
        assert 60 < len(answer.text) < 700
        words.update(answer.text.split())
    assert len(words) < 900


def test_the_corpus_holds_right_to_left_words_emoji_and_combining_marks(world):
    text = " ".join(answer.text for _, answer in world.corpus(500))
    assert "ليلى" in text
    assert "נועה" in text
    assert "👩\u200d🌾" in text
    assert "e\u0301" in text


def test_a_world_with_fewer_topics_knows_the_same_facts(world):
    small = World(0, topics=6)
    prompt = small.prompts(1)[0]
    assert len(small.topics) == 6
    assert small.true_quality(prompt, world.clean_answer(prompt, random.Random(0)).text) == 1.0
