"""critique_model learns to quote what people quote; what it writes marks the tokens of sampled answers."""

import json
import random
import threading

import pytest

from tests.recipes.conftest import carry_out
from tests.recipes.practice import practise
from tests.recipes.test_launch import events, order
from training import engine
from training.launch import attempt
from training.recipes import critique_model, marking
from training.recipes.context import Events, RecipeError, RunContext
from training.recipes.registry import get

QUICK = {"epochs": 12, "batch_size": 8, "lr": 1e-2, "rank": 32, "guide": "none", "passage_tokens": 0, "max_tokens": 320}
QUICK |= {"max_new_tokens": 120, "words": 40, "measured": 8, "max_left_out": 1.0, "micro_batch_tokens": 2048}
BRIEF = {"max_new_tokens": 6, "passage_tokens": 0, "watch_answers": 0, "held_out": 0, "critic": "head", "fewest": 0.0}
WORDS = ("water", "lamp", "plug", "tank", "app", "day", "hour", "home")


def write_rows(folder, count=90):
    """Answers of four words; whatever stands after "lamp" is bad, "tank" is good."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(0)
    with (folder / "rows.jsonl").open("w") as file:
        for number in range(count):
            words = chance.sample(WORDS, 4)
            text, spans, at = " ".join(words), [], 0
            for word in words:
                sentiment = {"lamp": -1, "tank": 1}.get(word, 0)
                if sentiment:
                    spans.append(
                        {
                            "start": at,
                            "end": at + len(word),
                            "quote": word,
                            "sentiment": sentiment,
                            "severity": 2,
                            "label": "wrong" if sentiment < 0 else "right",
                            "critique": "",
                            "author": "Ben",
                        }
                    )
                at += len(word) + 1
            row = {
                "split": "test" if number % 9 == 0 else "train",
                "kind": "response",
                "prompt_id": f"p{number}",
                "messages": [{"role": "user", "content": "Which?"}],
                "context": [],
                "response_id": f"r{number}",
                "text": text,
                "spans": spans,
                "reviewed": True,
                "reviewers": ["Ben"],
            }
            file.write(json.dumps(row) + "\n")
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("critic-rows"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, base, rows):
    # after 12 epochs what it has learned hangs on the roundings of a machine
    config = {**QUICK, "epochs": 20}
    folder = tmp_path_factory.mktemp("critic")
    return carry_out(folder, "critique_model", config, base_model=base, snapshot=rows, seed=1)


def test_it_learns_to_quote_what_people_marked(trained):
    card = json.loads((trained.artifact / "redpen.json").read_text())
    assert card["kind"] == "critique_model"
    figures = card["metrics"]
    assert figures["test_unparsed"] == 0.0
    assert figures["test_quotes_lost"] == 0.0
    assert figures["test_f1_bad"] > 0.6
    assert figures["test_words_overlap"] > 0.5
    assert trained.figures("loss")[-1] < 0.3 * trained.figures("loss")[0]
    sample = trained.of("sample")[0]["data"]
    assert {"text", "tokens", "critique", "by_people"} <= set(sample)


def test_the_prompt_is_not_learned_and_the_words_come_before_the_quotes(tmp_path, base, rows):
    run = RunContext(directory=tmp_path, events=Events(tmp_path / "e.jsonl"), base_model=base, snapshot=rows)
    _, tokenizer = engine.models.load_base(base)
    config = get("critique_model").config(QUICK)
    for one in critique_model.prepare(run, config, tokenizer, "test"):
        learned = tokenizer.decode(engine.answers.completion_of(one.row), clean_up_tokenization_spaces=False)
        assert learned.startswith('{"textual_feedback": "')
        assert learned.endswith("]}<|end|>")
        assert learned.index("textual_feedback") < learned.index("good_spans") < learned.index("poor_spans")
        assert one.item["text"] in tokenizer.decode(engine.answers.prompt_of(one.row))


def test_a_model_loaded_from_its_folder_writes_what_it_wrote_alone_and_beside_a_policy(trained, base):
    writer = engine.critique_writing.CritiqueWriter
    items = [{"messages": [{"role": "user", "content": "Which?"}], "context": [], "text": "water lamp day tank"}]
    alone = writer.load(trained.artifact).write_many(items)
    host = engine.policy.Policy.load(base, lora=engine.policy.Lora(rank=4), seed=0)
    assert writer.load(trained.artifact, beside=host).write_many(items) == alone
    assert alone[0] is not None
    long = [{**items[0], "text": "water " * 400}]
    assert writer.load(trained.artifact).write_many(long) == [None]


def test_what_it_quotes_rewards_and_blames_tokens_in_text2grad(tmp_path, base, rows, trained, monkeypatch):
    config = {**BRIEF, "steps": 2, "prompts": 2, "samples": 2}
    run = practise(
        tmp_path / "run",
        "text2grad",
        base,
        rows,
        monkeypatch,
        check=None,
        models={"critique_model": trained.artifact},
        **config,
    )
    assert "quotes_lost" in run.of("metrics")[0]["values"]
    assert run.figures("unparsed")[0] < 1.0
    assert any(event["data"]["critique"] for event in run.of("sample"))


def test_two_sources_are_two_annotators(monkeypatch):
    span = engine.tokens.Span
    one = marking.Marking((span(0, 3, -1.0),), "bad", 1)
    two = marking.Marking((span(0, 3, 1.0),), "good", 0)
    both = marking.marked({"a": lambda c, s: [one, one], "b": lambda c, s: [two, None]}, [None] * 2, [None] * 2)
    assert both[1] is None
    assert (both[0].words, both[0].lost, both[0].annotators) == ("bad good", 1, 2)
    assert {mark.author for mark in both[0].spans} == {"a", "b"}
    assert engine.tokens.spans_to_token_weights("abc", [(0, 3)], both[0].spans, annotators=2) == [0.0, 0.0]


def test_without_a_mark_there_is_nothing_to_learn(tmp_path, base):
    row = {"split": "train", "kind": "response", "prompt_id": "p", "messages": [{"role": "user", "content": "Which?"}]}
    row |= {"context": [], "response_id": "r", "text": "water", "spans": [], "reviewed": True, "reviewers": ["Ben"]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    run = RunContext(directory=tmp_path, events=Events(tmp_path / "e.jsonl"), base_model=base, snapshot=tmp_path)
    with pytest.raises(RecipeError, match="None of the 1 critiques"):
        get("critique_model").train(run, get("critique_model").config(QUICK))


def test_both_are_launched_like_any_run_one_after_the_other(tmp_path, base, rows):
    config = {**QUICK, "epochs": 1, "measured": 2}
    kept = {}
    for recipe, changes in (
        ("critique_model", config),
        ("text2grad", {**BRIEF, "prompts": 2, "samples": 1, "steps": 1, "new_answers": 1}),
    ):
        folder = tmp_path / recipe
        folder.mkdir()
        order(folder, base, rows, recipe=recipe, config=changes, models=dict(kept))
        assert attempt(folder, threading.Event()) == 0, events(folder)[-1]
        said = events(folder)
        assert said[-1]["type"] == "done"
        (artifact,) = [event for event in said if event["type"] == "artifact"]
        kept[recipe] = str(folder / artifact["path"])
    assert json.loads((tmp_path / "text2grad" / "artifact" / "redpen.json").read_text())["kind"] == "policy"
