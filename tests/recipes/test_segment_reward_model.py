"""segment_reward_model learns of each segment, by category, whether it has an error, and reads what it has learned by
name.
"""

import json

import pytest
import torch
from pydantic import ValidationError

from tests.recipes.conftest import carry_out
from training.engine.heads import TokenHead
from training.engine.segment_scoring import Category, SegmentScorer, columns_of
from training.recipes.categories import categories_of, chosen_categories
from training.recipes.context import RecipeError
from training.recipes.registry import get
from training.recipes.segment_reward_model import reviewed

TINY = {
    "categories": "manners=rude_phrase+rambling, facts=invented_fact",
    "facts": "facts",
    "shortest": 1,
    "epochs": 2,
    "lr": 3e-3,
    "head_lr": 1e-2,
    "rank": 8,
    "passage_tokens": 32,
}


@pytest.fixture(scope="module")
def some(snapshot, tmp_path_factory):
    """A part of the snapshot: 90 answers of its train split, 30 of the others."""
    rows = [json.loads(line) for line in (snapshot / "rows.jsonl").read_text().splitlines()]
    chosen = [row for row in rows if row["split"] == "train"][:90] + [row for row in rows if row["split"] != "train"]
    folder = tmp_path_factory.mktemp("some")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chosen[:120]))
    (folder / "manifest.json").write_text((snapshot / "manifest.json").read_text())
    return folder


@pytest.fixture(scope="module")
def trained(base, some, tmp_path_factory):
    directory = tmp_path_factory.mktemp("segments")
    return carry_out(directory, "segment_reward_model", TINY, base_model=base, snapshot=some)


@pytest.fixture(scope="module")
def scorer(trained):
    return SegmentScorer.load(trained.artifact)


@pytest.fixture(scope="module")
def records(some):
    return [json.loads(line) for line in (some / "rows.jsonl").read_text().splitlines()]


def items(records):
    return [{name: one[name] for name in ("messages", "context", "text")} for one in records]


def test_marked_segments_are_told_from_others_in_answers_that_it_has_not_seen(trained):
    (artifact,) = trained.of("artifact")
    figures = artifact["metrics"]
    assert figures["test_auroc/manners"] > 0.9
    assert figures["test_accuracy/manners"] > figures["test_majority/manners"]
    assert {"dev_accuracy", "dev_f1/facts", "dev_majority/facts", "test_auroc/facts"} <= set(figures)
    (said,) = [one["text"] for one in trained.of("log") if "segments:" in one["text"]]
    assert "90 answers" in said
    assert "not judged" in said
    losses = trained.figures("loss")
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_the_artifact_says_how_it_cuts_and_reads(trained, scorer):
    card = json.loads((trained.artifact / "redpen.json").read_text())
    assert card["kind"] == "segment_reward_model"
    assert [one["name"] for one in card["categories"]] == ["manners", "facts"]
    assert [one["segments"] for one in card["categories"]] == ["clause", "sentence"]
    assert [one["facts"] for one in card["categories"]] == [False, True]
    assert set(card["categories"][0]["labels"]) >= {"rude_phrase", "id of rude_phrase", "rude phrase", "rambling"}
    assert scorer.card() == {"categories": [{**one, "labels": tuple(one["labels"])} for one in card["categories"]],
                             "reading": card["reading"]}  # fmt: skip


def test_an_answer_scores_alone_what_it_scores_in_company_and_on_a_lent_base(trained, scorer, base, records):
    from training.engine.policy import Lora, Policy

    some = items(records[:6])
    together = scorer.score_many(some)
    alone = [scorer.score_many([one])[0] for one in some]
    lent = SegmentScorer.load(trained.artifact, beside=Policy.load(base, lora=Lora(rank=2))).score_many(some)
    for name in ("manners", "facts"):
        of = [[part.ok for one in found for part in one[name]] for found in (together, alone, lent)]
        assert of[0] == pytest.approx(of[1], abs=1e-5)
        assert of[0] == pytest.approx(of[2], abs=1e-5)
    assert "".join(some[0]["text"][one.start : one.end] for one in together[0]["manners"]) == some[0]["text"]


def test_it_is_saved_and_loaded_exactly(trained, scorer, tmp_path, records):
    scorer.head.save(tmp_path / "head.safetensors")
    again = TokenHead.load(tmp_path / "head.safetensors")
    assert again.outputs == ("manners:OK", "manners:ERR", "facts:OK", "facts:ERR")
    assert all(
        torch.equal(mine, theirs) for mine, theirs in zip(again.parameters(), scorer.head.parameters(), strict=True)
    )
    assert SegmentScorer.load(trained.artifact).score_many(items(records[:2])) == scorer.score_many(items(records[:2]))


def test_ok_and_err_are_read_by_name_wherever_they_stand(scorer, records):
    order = [3, 0, 2, 1]
    moved = TokenHead(scorer.head.norm.weight.shape[0], [scorer.head.outputs[place] for place in order])
    moved.norm.load_state_dict(scorer.head.norm.state_dict())
    with torch.no_grad():
        moved.linear.weight.copy_(scorer.head.linear.weight[order])
        moved.linear.bias.copy_(scorer.head.linear.bias[order])
    other = SegmentScorer(scorer.policy, moved.eval(), categories=scorer.categories, reading=scorer.reading)
    assert other.columns == [[1, 3], [2, 0]]
    some = items(records[:3])
    for mine, theirs in zip(scorer.score_many(some), other.score_many(some), strict=True):
        for name in mine:
            assert [one.ok for one in mine[name]] == pytest.approx([one.ok for one in theirs[name]], abs=1e-6)
    with pytest.raises(ValueError, match="no output tone:OK"):
        columns_of(scorer.head.outputs, ["tone"])


def test_a_class_stands_at_the_end_of_each_judged_segment_and_nowhere_else(scorer, records):
    record = next(one for one in records if any(span["label"] == "invented_fact" for span in one["spans"]))
    found = reviewed(scorer, record, shortest=1)
    manners, facts = found.rows
    assert (manners.of_row["category"], facts.of_row["category"]) == (0.0, 1.0)
    assert sum(one >= 0 for one in manners.of_tokens["verdict"]) == len(found.verdicts["manners"])
    assert facts.of_tokens["verdict"].count(1.0) == found.verdicts["facts"].count("ERR") > 0
    assert sum(one >= 0 for one in facts.of_tokens["verdict"]) == sum(
        one is not None for one in found.verdicts["facts"]
    )
    passage = record["context"][0]["title"]
    shown = [scorer.policy.tokenizer.decode(row.ids) for row in (manners, facts)]
    assert passage not in shown[0].split("<|assistant|>")[0]
    assert passage in shown[1]  # only what is about facts reads the passages


def test_what_is_longer_than_it_reads_is_cut_at_its_end_and_pays_nothing(scorer, records):
    from dataclasses import replace

    record = max(records, key=lambda one: len(one["text"]))
    (cut,) = scorer.cuts("a", items([record])[0])[:1]
    room = len(cut.row.ids) - sum(cut.row.trained) + cut.ends[1] + 1  # the first two segments fit
    short = SegmentScorer(
        scorer.policy, scorer.head, categories=scorer.categories[:1], reading=replace(scorer.reading, max_tokens=room)
    )
    (found,) = short.score_many(items([record]))
    whole = scorer.score_many(items([record]))[0]["manners"]
    assert [one.ok is None for one in found["manners"]] == [False, False] + [True] * (len(whole) - 2)
    assert found["manners"][0].ok == pytest.approx(whole[0].ok, abs=1e-6)
    assert {one.sign for one in found["manners"][2:]} == {0.0}
    none = SegmentScorer(
        scorer.policy, scorer.head, categories=scorer.categories[:1], reading=replace(scorer.reading, max_tokens=4)
    )
    assert all(one.ok is None for one in none.score_many(items([record]))[0]["manners"])


# --- what it is told


def test_categories_read_as_weights_do():
    assert categories_of("relevance=Irrelevant+Redundant, factuality=Wrong-Grounding") == {
        "relevance": ("Irrelevant", "Redundant"),
        "factuality": ("Wrong-Grounding",),
    }
    assert categories_of("bad=*, a = x y + z") == {"bad": ("*",), "a": ("x y", "z")}
    recipe = get("segment_reward_model")
    for wrong in ({"categories": "relevance"}, {"categories": "a=x, a=y"}, {"segments": "a=paragraph"}):
        with pytest.raises(ValidationError):
            recipe.config(wrong)


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"categories": "tone=rude"}, "run.categories", "no label rude; there are invented_fact"),
        ({"facts": "grounding"}, "run.categories", "name grounding; the categories are manners, facts"),
        ({"categories": "facts=missing_step", "shortest": 100, "facts": ""}, "data.no_marks", "0 ERR"),
    ],
)
def test_what_cannot_be_learned_is_refused_in_words(tmp_path, base, some, changes, code, words):
    # a missing step has no words, so its marks are never too short: leave them out
    rows = [json.loads(line) for line in (some / "rows.jsonl").read_text().splitlines()]
    for row in rows:
        row["spans"] = [one for one in row["spans"] if one["start"] < one["end"]]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:12]))
    (tmp_path / "manifest.json").write_text((some / "manifest.json").read_text())
    with pytest.raises(RecipeError, match=words) as refusal:
        carry_out(tmp_path / "run", "segment_reward_model", {**TINY, **changes}, base_model=base, snapshot=tmp_path)
    assert refusal.value.code == code


def test_without_categories_every_label_of_bad_phrases_is_one(trained, some):
    found = chosen_categories(trained.context, "", facts="", segments="rambling=words:4")
    assert [one.name for one in found] == ["invented_fact", "rude_phrase", "missing_step", "rambling"]
    assert [one.segments for one in found] == ["clause", "clause", "clause", "words:4"]
    assert found[0] == Category(
        name="invented_fact", labels=("id of invented_fact", "invented fact", "invented_fact"), segments="clause"
    )
