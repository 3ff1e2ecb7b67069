"""span_reward_model learns what people mark, refuses what it cannot learn from, and says what it leaves out."""

import json

import pytest

from tests.recipes.conftest import Trained, carry_out
from training.engine.scoring import SpanScorer, reward
from training.recipes.context import Cancelled, Events, RecipeError, RunContext
from training.recipes.registry import get
from training.recipes.reviewed import balance, targets_of

TINY = {"epochs": 1, "batch_size": 8, "lr": 3e-3, "rank": 4, "echo": False, "passage_tokens": 0}


def some_rows(snapshot, count, **changes):
    lines = (snapshot / "rows.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["split"] == "train"][:count]
    return [{**row, **changes} for row in rows]


def folder_with(tmp_path, rows):
    (tmp_path / "snapshot").mkdir(exist_ok=True)
    (tmp_path / "snapshot" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "snapshot"


def test_the_planted_defects_are_found_in_answers_that_it_has_never_seen(span_reward_model):
    (artifact,) = span_reward_model.of("artifact")
    assert artifact["metrics"]["test_auroc_bad"] > 0.93
    losses = span_reward_model.figures("loss")
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_a_clean_answer_is_worth_more_than_a_rude_one_and_the_rude_words_are_why(span_reward_model, world):
    import random

    scorer = SpanScorer.load(span_reward_model.artifact)
    prompts = world.prompts(12, seed=9, split="test")
    clean, spoilt, hits = [], [], 0
    for place, prompt in enumerate(prompts):
        text = world.clean_answer(prompt, random.Random(place)).text
        rude = text + " Now stop complaining."
        clean.append(reward(scorer.score(prompt.messages, prompt.context, text)))
        tokens = scorer.score(prompt.messages, prompt.context, rude)
        spoilt.append(reward(tokens))
        of_phrase = [token["bad"] for token in tokens if token["start"] > len(text)]
        of_rest = [token["bad"] for token in tokens if token["end"] <= len(text)]
        hits += sum(of_phrase) / len(of_phrase) > sum(of_rest) / len(of_rest)
    assert sum(clean) > sum(spoilt)
    assert hits >= 11


def test_the_labels_are_told_apart(span_reward_model, world):
    import random

    scorer = SpanScorer.load(span_reward_model.artifact)
    phrases = {
        "rude_phrase": " Do not write to us again about this.",
        "rambling": " I could go on about tomatoes for hours.",
    }
    for label, phrase in phrases.items():
        told = dict.fromkeys(phrases, 0.0)
        for place, prompt in enumerate(world.prompts(8, seed=4, split="test")):
            text = world.clean_answer(prompt, random.Random(place)).text
            for token in scorer.score(prompt.messages, prompt.context, text + phrase):
                if token["start"] > len(text):
                    for name in phrases:
                        told[name] += token["labels"][name]
        assert max(told, key=told.get) == label, told


def test_the_artifact_says_what_it_is_and_how_it_reads(span_reward_model, base):
    card = json.loads((span_reward_model.artifact / "redpen.json").read_text())
    assert card["kind"] == "span_reward_model"
    assert card["base"] == str(base)
    assert [label["key"] for label in card["labels"]] == ["invented_fact", "rude_phrase", "missing_step", "rambling"]
    assert card["reading"] == {"echo": False, "passage_tokens": 0, "max_tokens": 1024}
    assert {"adapter_model.safetensors", "head.safetensors"} <= {
        file.name for file in span_reward_model.artifact.iterdir()
    }


def test_events_are_numbered_from_zero_and_the_chart_ends_at_its_total(span_reward_model):
    assert [event["seq"] for event in span_reward_model.events] == list(range(len(span_reward_model.events)))
    last = span_reward_model.of("metrics")[-1]
    assert last["step"] == last["total"]
    shown = span_reward_model.of("sample")[0]["data"]
    assert shown["tokens"][0][0] == 0
    assert shown["tokens"][-1][1] == len(shown["text"])


def test_the_same_seed_gives_the_same_curve(tmp_path, base, snapshot):
    folder = folder_with(tmp_path, some_rows(snapshot, 16))
    curves = [
        carry_out(tmp_path / name, "span_reward_model", TINY, base_model=base, snapshot=folder, seed=seed).figures(
            "loss"
        )
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert curves[0] == curves[1] != curves[2]


def test_echo_and_passages_reach_the_model(tmp_path, base, snapshot):
    folder = folder_with(tmp_path, some_rows(snapshot, 8))
    config = {**TINY, "echo": True, "passage_tokens": 64}
    done = carry_out(tmp_path / "run", "span_reward_model", config, base_model=base, snapshot=folder)
    scorer = SpanScorer.load(done.artifact)
    row = some_rows(snapshot, 1)[0]
    from training.engine.scoring import show

    chat = show(scorer.policy.tokenizer, scorer.reading, row)
    assert chat.text.count(row["text"]) == 2
    assert chat.response_start == chat.text.rindex(row["text"])
    assert row["context"][0]["title"] in chat.text


def test_a_base_that_stays_as_it_is_is_read_once_and_only_the_classifier_is_kept(tmp_path, base, snapshot):
    folder = folder_with(tmp_path, some_rows(snapshot, 120))
    config = {**TINY, "rank": 0, "epochs": 12, "head_lr": 1e-2}
    done = carry_out(tmp_path / "run", "span_reward_model", config, base_model=base, snapshot=folder)
    assert not list(done.artifact.glob("adapter*"))
    assert any("read all answers once" in event["text"] for event in done.of("log"))
    losses = done.figures("loss")
    assert sum(losses[-10:]) < 0.75 * sum(losses[:10])
    scorer = SpanScorer.load(done.artifact)
    bad = {"inside": [], "outside": []}
    for row in some_rows(snapshot, 120):
        for token in scorer.score(row["messages"], row["context"], row["text"]):
            inside = any(span["start"] <= token["start"] < span["end"] for span in row["spans"])
            bad["inside" if inside else "outside"].append(token["bad"])
    assert sum(bad["inside"]) / len(bad["inside"]) > 0.2 + sum(bad["outside"]) / len(bad["outside"])


def test_a_classifier_fitted_exactly_finds_the_defects_and_reads_alike_when_it_comes_back(tmp_path, base, snapshot):
    folder = folder_with(tmp_path, some_rows(snapshot, 120))
    config = {**TINY, "rank": 0, "fit": "exact", "phrases": True, "evidence": True, "passage_tokens": 64}
    done = carry_out(tmp_path / "run", "span_reward_model", config, base_model=base, snapshot=folder)
    held_out = done.figures("held_out_loss")
    assert min(held_out) < 0.9 * held_out[0]
    last = done.of("metrics")[-1]
    assert last["step"] == last["total"]
    rows = some_rows(snapshot, 160)[120:]
    found = [SpanScorer.load(done.artifact).score_many(rows) for _ in range(2)]
    assert found[0] == found[1]
    bad = {True: [], False: []}
    for row, tokens in zip(rows, found[0], strict=True):
        for token in tokens:
            bad[any(span["start"] <= token["start"] < span["end"] for span in row["spans"])].append(token["bad"])
    assert sum(bad[True]) / len(bad[True]) > 0.25 + sum(bad[False]) / len(bad[False])


def test_evidence_of_passages_is_kept_from_a_model_that_is_shown_none(tmp_path, base, snapshot):
    folder = folder_with(tmp_path, some_rows(snapshot, 16))
    config = {**TINY, "rank": 0, "fit": "exact", "evidence": True}
    for tokens in (0, 64):
        done = carry_out(
            tmp_path / str(tokens),
            "span_reward_model",
            {**config, "passage_tokens": tokens},
            base_model=base,
            snapshot=folder,
        )
        scorer = SpanScorer.load(done.artifact)
        (row,) = some_rows(snapshot, 1)
        same = scorer.score_many([row]) == scorer.score_many([{**row, "context": []}])
        assert same is (tokens == 0)


def test_an_adapter_cannot_be_fitted_exactly(tmp_path, base, snapshot):
    with pytest.raises(RecipeError, match="step by step"):
        carry_out(tmp_path, "span_reward_model", {**TINY, "fit": "exact"}, base_model=base, snapshot=snapshot)


def test_answers_that_are_too_long_are_counted_listed_and_too_many_are_refused(tmp_path, base, snapshot):
    rows = some_rows(snapshot, 8)
    rows[2] = {**rows[2], "text": rows[2]["text"] * 30, "response_id": "the long one"}
    folder = folder_with(tmp_path, rows)
    config = {**TINY, "max_tokens": 400}
    done = carry_out(tmp_path / "a", "span_reward_model", config, base_model=base, snapshot=folder)
    (warning,) = [event["text"] for event in done.of("log") if event["level"] == "warning"]
    assert "1 answers are longer than 400 tokens: answer the long one (" in warning
    assert done.of("artifact")[0]["metrics"]["answers"] == 7
    config = {**config, "max_left_out": 0.1}
    with pytest.raises(RecipeError, match="1 of 8 answers are longer") as refusal:
        carry_out(tmp_path / "b", "span_reward_model", config, base_model=base, snapshot=folder)
    assert refusal.value.code == "data.too_long"
    assert "max_tokens" in refusal.value.action


@pytest.mark.parametrize(("changes", "count", "code"), [({"spans": []}, 6, "data.no_marks"), ({}, 0, "data.empty")])
def test_nothing_to_learn_from_is_said_before_training(tmp_path, base, snapshot, changes, count, code):
    folder = folder_with(tmp_path, some_rows(snapshot, count, **changes))
    with pytest.raises(RecipeError) as refusal:
        carry_out(tmp_path / "run", "span_reward_model", TINY, base_model=base, snapshot=folder)
    assert refusal.value.code == code


def test_a_run_that_is_asked_to_stop_stops(tmp_path, base, snapshot):
    context = RunContext(
        directory=tmp_path, base_model=base, events=Events(tmp_path / "events.jsonl"), snapshot=snapshot
    )
    context.stop.set()
    with pytest.raises(Cancelled):
        get("span_reward_model").train(context, get("span_reward_model").config(TINY))
    assert Trained(context).of("artifact") == []


def test_targets_are_shares_of_annotators_and_labels_stand_beside_them():
    record = {
        "text": "bad good",
        "spans": [
            {"start": 0, "end": 3, "sentiment": -1, "label": "rude", "author": "ada"},
            {"start": 4, "end": 8, "sentiment": 1, "label": None, "author": "ben"},
            {"start": 8, "end": 8, "sentiment": -1, "label": "gap", "author": "ada"},
        ],
    }
    labels = [{"id": "1", "key": "rude", "name": "Rude"}, {"id": "2", "key": "gap", "name": "Gap"}]
    assert targets_of(record, [(0, 3), (3, 8)], labels) == [
        [0.5, 0.5, 0.0, 0.5, 0.0],
        [0.0, 0.5, 0.5, 0.0, 0.0],
        [0.5, 0.5, 0.0, 0.0, 0.5],
    ]


def test_balance_weighs_rare_sentiments_more_with_a_mean_of_one():
    from training.engine.packs import Row

    row = Row("r", [1] * 4, [False] + [True] * 3, targets=[[1, 0, 0], [0, 1, 0], [0, 1, 0]])
    assert balance([row], "none") is None
    bad, neutral, good = balance([row], "full")
    assert (bad, neutral, good) == pytest.approx((1.5, 0.75, 0.0))
    bad, neutral, _ = balance([row], "sqrt")
    assert bad / neutral == pytest.approx(2**0.5)
    assert (bad + 2 * neutral) / 3 == pytest.approx(1.0)
