"""The real spans of QA-Feedback as rows that recipes read, split by prompt, for benchmarks."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "qa_feedback" / "feedback.json"
HELD_OUT = 25  # of 100 prompts, by a hash of the question
DEV = 15  # of 100 of the others: what options are tuned on

LABELS = ("Irrelevant", "Redundant", "Incoherent", "Wrong-Grounding", "Unverifiable")


def share(question: str, purpose: str) -> int:
    """A number from 0 to 99 that depends on the question alone."""
    return int(hashlib.sha256(f"{purpose} {question}".encode()).hexdigest()[:8], 16) % 100


def split_of(question: str, *, tuning: bool) -> str | None:
    """train or test; while tuning, the held-out prompts do not exist and a part of the train prompts is measured on."""
    if share(question, "held out") < HELD_OUT:
        return None if tuning else "test"
    return "test" if tuning and share(question, "dev") < DEV else "train"


def rows(data: Path = DATA, *, tuning: bool = False) -> Iterator[dict[str, Any]]:
    """One row for each reviewed answer (prediction 1), in the snapshot's form. Missing information is left out: it
    has no words.
    """
    for number, example in enumerate(json.loads(data.read_text())):
        split = split_of(example["question"], tuning=tuning)
        if split is None:
            continue
        text = example["prediction 1"]
        yield {
            "split": split,
            "kind": "response",
            "prompt_id": f"qa-{number}",
            "messages": [{"role": "user", "content": example["question"]}],
            "context": [
                {"id": str(place), "title": passage[0], "text": " ".join(passage[1:])}
                for place, passage in enumerate(example["passages"])
            ],
            "response_id": f"qa-{number}",
            "text": text,
            "reviewed": True,
            "spans": [
                {
                    "start": span["start"],
                    "end": span["end"],
                    "quote": text[span["start"] : span["end"]],
                    "sentiment": -1,
                    "severity": 2,
                    "label": span["error type"],
                    "author": "qa-feedback",
                }
                for span in example["feedback"]["errors"]
            ],
        }


PAIRS = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))  # of the predictions, as the preferences are listed


def preferences(data: Path = DATA, *, tuning: bool = False) -> dict[str, tuple[list[str], list[tuple[int, int]]]]:
    """Of each prompt that is measured on, by its id: the four predictions, and (better, worse) of every pair of them
    that people did not call equal.
    """
    found = {}
    for number, example in enumerate(json.loads(data.read_text())):
        if split_of(example["question"], tuning=tuning) == "test":
            pairs = [
                (left, right) if said == 1 else (right, left)
                for (left, right), said in zip(PAIRS, example["preference"], strict=True)
                if said
            ]
            found[f"qa-{number}"] = ([example[f"prediction {place}"] for place in range(1, 5)], pairs)
    return found


def write_snapshot(folder: Path, data: Path = DATA, *, tuning: bool = False) -> Path:
    """The rows as a snapshot's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for row in rows(data, tuning=tuning):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    labels = [{"id": label, "key": label, "name": label, "sentiment": -1} for label in LABELS]
    (folder / "manifest.json").write_text(json.dumps({"labels": labels}))
    return folder


def often(snapshot: Path, enough: int) -> list[str]:
    """The types of error of which so many spans stand in the held-out answers."""
    rows = [json.loads(line) for line in (snapshot / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    spans = Counter(span["label"] for row in rows if row["split"] == "test" for span in row["spans"])
    return [label for label in LABELS if spans[label] >= enough]
