"""Evaluation: the same prompts and seeds for every policy, judged, written down answer by answer."""

import json

import pytest

from tests.recipes.conftest import carry_out
from training.recipes.context import RecipeError
from training.recipes.registry import get

CONFIG = {"prompts": 5, "samples": 2, "max_new_tokens": 12, "passage_tokens": 0, "checker": "support", "split": "test"}


def answers(done):
    return [json.loads(line) for line in (done.artifact / "answers.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def first(tmp_path_factory, base, snapshot):
    return carry_out(tmp_path_factory.mktemp("evaluation"), "evaluation", CONFIG, base_model=base, snapshot=snapshot)


def test_every_answer_is_written_with_its_worth_and_the_figure_is_their_mean(first, world):
    found = answers(first)
    assert len(found) == 10
    card = json.loads((first.artifact / "redpen.json").read_text())
    assert card["kind"] == "evaluation"
    assert card["metrics"]["truth/quality"] == pytest.approx(sum(one["worth"] for one in found) / 10)
    assert first.context.tokens_written == sum(one["tokens"] for one in found)
    splits = {prompt["prompt_id"]: prompt["split"] for prompt in first.context.prompts()}
    assert {splits[one["prompt_id"]] for one in found} == {"test"}


def test_two_evaluations_with_one_seed_ask_the_same_with_the_same_chance(first, tmp_path, base, snapshot):
    given = {"base_model": base, "snapshot": snapshot}
    again = carry_out(tmp_path / "again", "evaluation", CONFIG, **given)
    assert answers(again) == answers(first)
    other = carry_out(tmp_path / "other", "evaluation", CONFIG, seed=1, **given)
    assert [one["prompt_id"] for one in answers(other)] == [one["prompt_id"] for one in answers(first)]
    assert [one["text"] for one in answers(other)] != [one["text"] for one in answers(first)]


def test_where_nothing_judges_or_nothing_is_held_out_it_says_so(tmp_path, base, snapshot):
    with pytest.raises(RecipeError, match="Nothing judges"):
        carry_out(tmp_path / "a", "evaluation", {**CONFIG, "checker": ""}, base_model=base, snapshot=snapshot)
    empty = tmp_path / "none"
    empty.mkdir()
    (empty / "rows.jsonl").write_text("")
    with pytest.raises(RecipeError, match="no prompt in the test split"):
        carry_out(tmp_path / "b", "evaluation", CONFIG, base_model=base, snapshot=empty)
    with pytest.raises(ValueError, match="no such checker"):
        get("evaluation").config({"checker": "alchemy"})
