"""reward_model makes one number of what people said of whole answers, however they said it."""

import json
import logging
import math

import pytest

from tests.recipes.conftest import carry_out
from tests.recipes.fresh import in_a_fresh_process
from tests.recipes.judged import rows_of, with_rows, write_judged
from training.engine.reward_scoring import RewardScorer
from training.recipes.context import RecipeError
from training.recipes.reward_model import Config, Scale, judged

log = logging.getLogger(__name__)

TINY = {
    "epochs": 4,
    "batch_size": 8,
    "lr": 3e-3,
    "head_lr": 1e-2,
    "rank": 4,
    "passage_tokens": 0,
    "evaluate_every": 0,
}
ANSWER = {"response_id": "a", "text": "one"}, {"response_id": "b", "text": "two"}, {"response_id": "c", "text": "three"}


# --- what is learned from a record


def preference(choice, strength=2):
    return {"kind": "preference", "a": ANSWER[0], "b": ANSWER[1], "choice": choice, "strength": strength}


def pieces(record, **options):
    return list(judged(record, Config(**options), Scale(1.0, 5.0)))


def test_the_better_answer_of_a_pair_stands_first_with_a_margin_of_how_clear_it_is():
    [(answers, told)] = pieces(preference("b"), margin=0.9)
    assert [answer["text"] for answer in answers.values()] == ["two", "one"]
    assert told[0] == told[1] == {"preferred": 1.0, "margin": pytest.approx(0.6)}


def test_ties_are_left_out_or_won_half_and_neither_says_nothing():
    assert pieces(preference("tie")) == pieces(preference("neither"), ties="half") == []
    [(_, told)] = pieces(preference("tie"), ties="half", margin=0.9)
    assert told[0] == {"preferred": 0.5, "margin": 0.0}


def test_rankings_keep_ties_and_a_choice_leaves_the_others_unplaced():
    ranking = {
        "kind": "ranking",
        "answers": [{**one, "place": place} for one, place in zip(ANSWER, (1, 2, 2), strict=True)],
    }
    [(_, told)] = pieces(ranking, source="rankings")
    assert [one["place"] for one in told] == [1, 2, 2]
    [(_, told)] = pieces({"kind": "choice", "answers": ANSWER, "chosen": "b"}, source="rankings")
    assert [one["place"] for one in told] == [0, 1, 0]
    assert pieces({"kind": "choice", "answers": ANSWER, "chosen": None}, source="rankings") == []
    equals = {"kind": "ranking", "answers": [{**one, "place": 1} for one in ANSWER]}
    assert pieces(equals, source="rankings") == []  # nobody is better: nothing to learn


def test_ratings_are_shares_of_their_scale_and_silence_weighs_little():
    [(_, [told])] = pieces({"kind": "rating", **ANSWER[0], "value": 4.0}, source="ratings")
    assert told["target"] == 0.75
    tap = {"kind": "reaction", **ANSWER[0], "polarity": -1, "silent": True}
    [(_, [told])] = pieces(tap, source="reactions", silence=0.1)
    assert told == {"target": 0.0, "weight": 0.1}
    assert pieces(tap, source="reactions", silence=0.0) == []


# --- whole runs


def learned_from(tmp_path, base, judged_rows, kinds, count=16, **config):
    rows = [{**row, "split": "train"} for row in judged_rows if row["kind"] in kinds][:count]
    folder = with_rows(tmp_path / "rows", rows)
    return carry_out(tmp_path / "run", "reward_model", {**TINY, **config}, base_model=base, snapshot=folder)


def by_epoch(run, epochs):
    losses = run.figures("loss")
    once = len(losses) // epochs
    return sum(losses[:once]) / once, sum(losses[-once:]) / once


@pytest.fixture(scope="module")
def of_pairs(tmp_path_factory, base, judged):
    rows = [row for row in rows_of(judged) if row["kind"] == "preference" and row["choice"] in "ab"]
    rows = [{**row, "split": ("train", "train", "dev", "test")[number % 4]} for number, row in enumerate(rows[:40])]
    folder = with_rows(tmp_path_factory.mktemp("pairs"), rows)
    config = {**TINY, "evaluate_every": 5}
    return carry_out(tmp_path_factory.mktemp("run"), "reward_model", config, base_model=base, snapshot=folder)


def test_pairs_are_learned_from_no_opinion_on(of_pairs):
    assert of_pairs.figures("loss")[0] == pytest.approx(math.log(2), abs=1e-6)
    first, last = by_epoch(of_pairs, 4)
    assert last < 0.8 * first


def test_the_artifact_says_how_good_it_is_beside_the_length_alone(of_pairs):
    (artifact,) = of_pairs.of("artifact")
    assert {f"{split}_{name}" for split in ("dev", "test") for name in ("accuracy", "calibration_error", "loss")} <= {
        *artifact["metrics"]
    }
    assert 0 <= artifact["metrics"]["test_accuracy_of_length"] <= 1
    card = json.loads((of_pairs.artifact / "redpen.json").read_text())
    assert (card["kind"], card["source"]) == ("reward_model", "pairs")
    assert card["reading"] == {"passage_tokens": 0, "max_tokens": 1024}
    assert of_pairs.of("sample")[0]["data"]["answers"][0]["preferred"] is True


SCORES = """
folder, items = given
print(json.dumps(engine.reward_scoring.RewardScorer.load(folder).score_many(items)))
"""


def test_scores_are_the_same_in_a_process_of_its_own(of_pairs, judged):
    rows = [row for row in rows_of(judged) if row["kind"] == "rating"][:6]
    items = [{name: row[name] for name in ("messages", "context", "text")} for row in rows]
    mine = RewardScorer.load(of_pairs.artifact).score_many(items)
    assert len(set(mine)) > 1
    assert in_a_fresh_process(SCORES, of_pairs.artifact, items) == mine


def test_what_cannot_be_read_has_no_score_and_others_keep_theirs(of_pairs, judged):
    row = next(row for row in rows_of(judged) if row["kind"] == "rating")
    item = {name: row[name] for name in ("messages", "context", "text")}
    scorer = RewardScorer.load(of_pairs.artifact)
    scorer.max_tokens = 300
    found = scorer.score_many([{**item, "text": "on and on " * 200}, item, {**item, "text": " "}, item])
    assert found[0] is None
    assert found[2] is None
    assert found[1] == pytest.approx(found[3], abs=1e-5)
    sampled = scorer.policy.tokenizer(row["text"], add_special_tokens=False)["input_ids"]
    stop = scorer.row("r", item).ids[-1]
    by_ids = {**{name: item[name] for name in ("messages", "context")}, "ids": [*sampled, stop]}
    assert scorer.score_many([by_ids])[0] == pytest.approx(found[1], abs=1e-5)


@pytest.mark.parametrize(
    ("source", "kinds", "options"),
    [
        ("rankings", ("ranking", "choice"), {}),
        ("ratings", ("rating",), {}),
        ("ratings", ("rating",), {"rating_steps": 4, "lowest": 0.0, "highest": 1.0}),
        ("reactions", ("reaction",), {}),
    ],
)
def test_every_source_is_learned(tmp_path, base, judged, source, kinds, options):
    count = 6 if source == "rankings" else 16
    run = learned_from(tmp_path, base, rows_of(judged), kinds, count, source=source, **options)
    first, last = by_epoch(run, 4)
    assert last < first
    card = json.loads((run.artifact / "redpen.json").read_text())
    assert len(card.get("cuts", ())) == max(0, options.get("rating_steps", 0) - 1)


def test_the_baseline_of_length_knows_when_length_is_all_there_is(tmp_path, base):
    prompt = {"prompt_id": "p", "messages": [{"role": "user", "content": "Why?"}], "context": [], "kind": "preference"}
    short, long = {"response_id": "s", "text": "No."}, {"response_id": "l", "text": "Because it is full of water."}
    rows = [
        {**prompt, "split": split, "a": short, "b": long, "choice": "b", "strength": 2, "records": [f"{split} {n}"]}
        for split in ("train", "test")
        for n in range(3)
    ]
    run = carry_out(
        tmp_path / "run",
        "reward_model",
        {**TINY, "epochs": 1, "rank": 0},
        base_model=base,
        snapshot=with_rows(tmp_path / "rows", rows),
    )
    (artifact,) = run.of("artifact")
    assert artifact["metrics"]["test_accuracy_of_length"] == 1.0
    assert not list(run.artifact.glob("adapter*"))  # rank 0: the head alone
    assert RewardScorer.load(run.artifact).score_many([{**prompt, "text": "No."}])[0] is not None


def test_nothing_to_compare_is_said_with_what_to_do(tmp_path, base, judged):
    ties = [{**row, "choice": "tie"} for row in rows_of(judged) if row["kind"] == "preference"]
    with pytest.raises(RecipeError, match="no compared pairs in the train split") as refusal:
        learned_from(tmp_path, base, ties, ("preference",))
    assert refusal.value.code == "data.empty"
    assert "ties alone teach nothing" in refusal.value.action


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_held_out_pairs_are_told_apart_better_than_by_their_length(tmp_path, base, world):
    folder = write_judged(tmp_path, world, 700, kinds=("preference",))
    config = {**TINY, "epochs": 3, "rank": 8, "evaluate_every": 20}
    run = carry_out(tmp_path / "run", "reward_model", config, base_model=base, snapshot=folder)
    metrics = run.of("artifact")[0]["metrics"]
    log.info("held-out pairs: %s", metrics)
    learned, by_length = ((metrics[f"dev_{n}"] + metrics[f"test_{n}"]) / 2 for n in ("accuracy", "accuracy_of_length"))
    assert learned > 0.6
    assert learned > by_length + 0.05
