"""People's marks in the records, beside what the judge says of the same answers."""

import json
import random

import pytest

from tests.recipes.judged import with_rows
from training.engine.policy import Policy
from training.recipes import spot_checks
from training.recipes.context import Events, RunContext
from training.recipes.online import Online
from training.recipes.rewarding import Judge
from training.recipes.spot_checks import checked, ranks, worth_of


@pytest.fixture(scope="module")
def policy(base):
    return Policy.load(base, seed=0)


def row(number, worth, *, own=False, policy=None, kind="verdict", split="train", **fields):
    text = f"Answer {number} is {worth}."
    ids = {"token_ids": policy.tokenizer(text)["input_ids"]} if own else {}
    said = {"verdict": "good" if worth > 0 else "bad"} if kind == "verdict" else {"value": worth, "dimension": "q"}
    messages = [{"role": "user", "content": f"Question {number}?"}]
    asked = {"split": split, "prompt_id": f"p{number}", "messages": messages, "context": []}
    return {**asked, "kind": kind, "response_id": f"r{number}", "text": text, **ids, **said, **fields}


@pytest.fixture
def told(tmp_path, base, policy):
    """What is said of these rows, by a judge of texts; with a policy to start from, if there is one."""

    def compare(rows, judge, *, goes_on=False):
        snapshot = with_rows(tmp_path / "rows", rows)
        models = {"policy": tmp_path} if goes_on else {}
        run = RunContext(
            directory=tmp_path,
            events=Events(tmp_path / "events.jsonl"),
            base_model=base,
            snapshot=snapshot,
            models=models,
        )
        source = lambda chosen, samples: [judge(one.text) for one in samples]  # noqa: E731
        figures = spot_checks.compare(run, Online(), policy, Judge({"judge": source}), {})
        lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
        return figures, [line for line in lines if line["type"] == "log"]

    return compare


def worth(text):
    return float(text.split(" is ")[1].rstrip("."))


def test_a_judge_that_sees_what_people_see_agrees_with_them(told):
    chance = random.Random(0)
    rows = [row(number, round(chance.gauss(0, 1), 3), kind="rating") for number in range(30)]
    assert told(rows, worth)[0] == {"hack/spot_agreement": pytest.approx(1)}
    figures, logged = told(rows, lambda text: -worth(text))
    assert figures == {"hack/spot_agreement": pytest.approx(-1)}
    assert logged[-1]["level"] == "warning"
    assert "On 30 answers that people judged" in logged[-1]["text"]


def test_a_judge_that_its_policy_has_gamed_leads_people_on_that_policys_answers(told, policy):
    chance = random.Random(0)
    rows = [row(number, round(chance.gauss(0, 1), 3), kind="rating") for number in range(20)]
    own = [row(100 + n, round(chance.gauss(0, 1), 3), kind="rating", own=True, policy=policy) for n in range(20)]
    gamed = lambda text: worth(text) + (4.0 if text.startswith("Answer 1") and len(text.split()[1]) == 3 else 0.0)  # noqa: E731
    assert told([*rows, *own], worth, goes_on=True)[0]["hack/spot_gap"] == pytest.approx(0, abs=0.01)
    figures, logged = told([*rows, *own], gamed, goes_on=True)
    assert figures["hack/spot_gap"] > 3
    assert "On the 20 of them that a policy wrote, the score leads people by" in logged[-1]["text"]
    assert logged[-1]["level"] == "warning"
    assert "hack/spot_gap" not in told([*rows, *own], gamed)[0]  # whose answers they are is not known


def test_few_answers_and_those_without_a_verdict_say_nothing(told):
    rows = [row(number, number, kind="rating") for number in range(11)]
    assert told(rows, worth) == ({}, [])
    rows = [row(number, number, kind="rating") for number in range(20)]
    assert told(rows, lambda text: None)[0] == {}


def test_marks_verdicts_and_ratings_are_each_in_their_own_deviations(tmp_path, base):
    spans = [{"sentiment": -1, "severity": 3}, {"sentiment": 1, "severity": None}]
    marks = [
        row(1, 0, kind="response", spans=spans, reviewed=True),
        row(2, 0, kind="response", spans=[], reviewed=True),
    ]
    assert [worth_of(one) for one in marks] == [-2.0, 0.0]
    assert worth_of(row(3, 0, kind="response", spans=[], reviewed=False)) is None
    assert worth_of({"kind": "prompt"}) is None
    verdicts = [row(1, -1), row(2, 1), row(4, 1, split="test")]
    snapshot = with_rows(tmp_path / "rows", [*marks, *verdicts])
    run = RunContext(directory=tmp_path, events=Events(tmp_path / "e.jsonl"), base_model=base, snapshot=snapshot)
    assert [(one.row["response_id"], one.said) for one in checked(run)] == [("r1", [-1, -1]), ("r2", [1, 1])]


def test_equals_share_their_rank():
    assert ranks([3.0, 1.0, 3.0, 0.0]) == [2.5, 1.0, 2.5, 0.0]
