"""preference_model reads two answers at once; which one stands first does not matter, and circles can be held."""

import json
import math

import pytest

from tests.recipes.conftest import carry_out
from tests.recipes.fresh import in_a_fresh_process
from tests.recipes.judged import rows_of, with_rows
from training.engine.pair_scoring import Opinion, PairScorer
from training.recipes.context import RecipeError

TINY = {
    "epochs": 4,
    "batch_size": 8,
    "lr": 3e-3,
    "head_lr": 1e-2,
    "rank": 4,
    "passage_tokens": 0,
    "evaluate_every": 5,
    "rankings": False,
}
WORDS = ("The red one.", "The green one.", "The blue one.")


def circle(count=24):
    """Red is preferred to green, green to blue, blue to red; shown in either order, a tie now and then."""
    rows = []
    for number in range(count):
        better, worse = WORDS[number % 3], WORDS[(number + 1) % 3]
        first, second = (better, worse) if number % 2 else (worse, better)
        rows.append(
            {
                "kind": "preference",
                "split": ("train", "train", "train", "dev")[number // 3 % 4],
                "prompt_id": f"p{number}",
                "messages": [{"role": "user", "content": "Which do you take?"}],
                "a": {"response_id": f"{number}a", "text": first},
                "b": {"response_id": f"{number}b", "text": second},
                "choice": "a" if number % 2 else "b",
                "strength": 2,
                "dimension": "",
            }
        )
    return rows


@pytest.fixture(scope="module")
def learned(tmp_path_factory, base):
    folder = with_rows(tmp_path_factory.mktemp("circle"), circle(24))
    config = {**TINY, "epochs": 8, "evaluate_every": 12}
    return carry_out(tmp_path_factory.mktemp("run"), "preference_model", config, base_model=base, snapshot=folder)


def asked(first, second):
    return {
        "messages": [{"role": "user", "content": "Which do you take?"}],
        "context": [],
        "first": first,
        "second": second,
    }


def test_it_holds_a_circle_that_no_scores_can_hold(learned):
    assert learned.figures("loss")[0] == pytest.approx(math.log(2), abs=1e-6)
    assert learned.figures("dev_accuracy")[-1] == 1.0
    chances = [
        opinion.chance
        for opinion in PairScorer.load(learned.artifact).compare_many(
            [asked(WORDS[k], WORDS[(k + 1) % 3]) for k in range(3)]
        )
    ]
    assert min(chances) > 0.5


def test_the_other_order_is_the_other_chance_and_an_answer_ties_with_itself(learned):
    scorer = PairScorer.load(learned.artifact)
    there, back, itself, nothing = scorer.compare_many(
        [asked(*WORDS[:2]), asked(*WORDS[1::-1]), asked(WORDS[0], WORDS[0]), asked(WORDS[0], " ")]
    )
    assert there.chance == pytest.approx(1 - back.chance, abs=1e-6)
    assert itself.chance == pytest.approx(0.5, abs=1e-6)
    assert nothing is None


def test_figures_of_the_artifact(learned):
    card = json.loads((learned.artifact / "redpen.json").read_text())
    assert card["kind"] == "preference_model"
    assert {"dev_accuracy", "dev_calibration_error", "dev_order_swap", "dev_accuracy_of_length", "pairs"} <= {
        *card["metrics"]
    }
    (first, *_) = learned.of("sample")
    chances = [one["chance"] for one in first["data"]["answers"]]
    assert sum(chances) == pytest.approx(1)
    assert Opinion(1.0, 0.5).swapped
    assert not Opinion(1.0, -0.5).swapped


def test_a_fresh_process_has_the_same_opinions(learned):
    pairs = [asked(*WORDS[:2]), asked(*WORDS[1:])]
    code = """
folder, pairs = given
print(json.dumps([one.score for one in engine.pair_scoring.PairScorer.load(folder).compare_many(pairs)]))
"""
    mine = [one.score for one in PairScorer.load(learned.artifact).compare_many(pairs)]
    assert in_a_fresh_process(code, learned.artifact, pairs) == mine


def test_it_stands_beside_a_policy_on_one_base(learned, base):
    from training.engine.policy import Lora, Policy

    policy = Policy.load(base, lora=Lora(rank=4), seed=1)
    pairs = [asked(*WORDS[:2]), asked(*WORDS[1:])]
    own, lent = (PairScorer.load(learned.artifact, beside=beside).compare_many(pairs) for beside in (None, policy))
    assert [one.score for one in lent] == pytest.approx([one.score for one in own], abs=1e-5)


def test_company_changes_no_opinion(learned):
    scorer = PairScorer.load(learned.artifact)
    pairs = [asked(WORDS[i], WORDS[j]) for i in range(3) for j in range(i)]
    alone = [scorer.compare_many([pair])[0].score for pair in pairs]
    assert [one.score for one in scorer.compare_many(pairs)] == pytest.approx(alone, abs=1e-5)


def test_rankings_rewrites_and_ties_make_pairs(tmp_path, base, judged):
    kinds = ("preference", "ranking", "choice", "rewrite")
    rows = [{**row, "split": "train"} for row in rows_of(judged) if row["kind"] in kinds][:40]
    folder = with_rows(tmp_path / "rows", rows)
    config = {**TINY, "epochs": 1, "rankings": True, "rewrites": True, "strength": "weight", "max_tokens": 700}
    run = carry_out(tmp_path / "run", "preference_model", config, base_model=base, snapshot=folder)
    (card,) = run.of("artifact")
    assert card["metrics"]["pairs"] > 40


def test_pairs_that_are_too_long_are_counted_and_named(tmp_path, base):
    rows = circle(6)
    rows[0]["a"]["text"] = "again " * 200
    folder = with_rows(tmp_path / "rows", [{**row, "split": "train"} for row in rows])
    config = {**TINY, "epochs": 1, "max_tokens": 64, "max_left_out": 0.5}
    run = carry_out(tmp_path / "run", "preference_model", config, base_model=base, snapshot=folder)
    assert any("longer than 64 tokens" in event["text"] for event in run.of("log"))


def test_nothing_compared_is_said(tmp_path, base):
    with pytest.raises(RecipeError, match="no compared pairs"):
        carry_out(
            tmp_path / "run", "preference_model", TINY, base_model=base, snapshot=with_rows(tmp_path / "rows", [])
        )
