"""The demo's content: complete, consistent, the same from the same seed."""

import pytest

from training.worlds.demo import demo_content
from training.worlds.support import World


@pytest.fixture(scope="module")
def demo():
    return demo_content()


def test_it_is_the_same_from_the_same_seed(demo):
    assert demo_content() == demo
    assert demo_content(1, prompts=10, labelled=10, twice=2, compared=4).responses != demo.responses[:20]


def test_it_has_the_size_that_a_reward_model_needs(demo):
    assert len(demo.responses) == 320
    assert len({r.model for r in demo.responses}) == 2
    assert len({review.response for review in demo.reviews}) == 240
    assert sum(len(review.marks) for review in demo.reviews) > 500
    assert len(demo.preferences) == 60
    assert len(demo.rewrites) > 10


def test_everything_points_at_something_that_is_there(demo):
    prompts = {p.key for p in demo.prompts}
    responses = {r.key: r for r in demo.responses}
    labels = {label.key: label for label in demo.labels}
    kinds = {kind.key for kind in demo.reaction_kinds} | {"shown"}
    assert {r.prompt for r in demo.responses} < prompts
    for review in demo.reviews:
        text = responses[review.response].text
        assert review.annotator in demo.annotators
        for mark in review.marks:
            assert text[mark.start : mark.end] == mark.quote
            assert labels[mark.label].sentiment == mark.sentiment
    for pair in demo.preferences:
        assert responses[pair.a].prompt == responses[pair.b].prompt == pair.prompt
        assert pair.a != pair.b
    assert all(r.kind in kinds and r.response in responses for r in demo.reactions)
    assert all(r.text != responses[r.response].text for r in demo.rewrites)


def test_what_is_left_for_the_newcomer_was_not_looked_at(demo):
    assert len(demo.to_label) == 80
    assert len(demo.to_compare) == 100
    assert not {review.response for review in demo.reviews} & set(demo.to_label)
    judged = {frozenset((p.a, p.b)) for p in demo.preferences}
    assert not judged & {frozenset(pair) for pair in demo.to_compare}


def test_feedback_comes_after_the_answer_and_before_now(demo):
    age = {r.key: r.minutes_ago for r in demo.responses}
    assert all(0 < review.minutes_ago < age[review.response] for review in demo.reviews)
    assert all(0 < pair.minutes_ago < age[pair.a] for pair in demo.preferences)
    assert all(0 < r.minutes_ago < age[r.response] for r in demo.reactions)


def test_the_first_answer_to_label_shows_several_defects_arabic_and_an_emoji(demo):
    world = World(0)
    response = {r.key: r for r in demo.responses}[demo.to_label[0]]
    prompt = {p.key: p for p in demo.prompts}[response.prompt]
    found = world.prompt_from(prompt.messages, prompt.context)
    assert len({d.kind for d in world.defects(found, response.text)}) >= 2
    assert any("\u0600" <= character <= "\u06ff" for character in response.text)
    assert any(ord(character) > 0x1F000 for character in response.text)


def test_labels_have_a_digit_each_and_the_newer_model_is_better(demo):
    assert sorted(label.shortcut for label in demo.labels) == [str(n) for n in range(1, len(demo.labels) + 1)]
    world, prompts = World(0), {p.key: p for p in demo.prompts}
    quality = {"fern-writer-1": [], "fern-writer-2": []}
    for response in demo.responses:
        prompt = world.prompt_from(prompts[response.prompt].messages)
        quality[response.model].append(world.true_quality(prompt, response.text))
    means = {model: sum(values) / len(values) for model, values in quality.items()}
    assert means["fern-writer-1"] < means["fern-writer-2"] - 0.05
