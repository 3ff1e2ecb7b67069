"""span_reward_model on real human spans (QA-Feedback) and on the demo world, beside honest baselines.

Token-level AUROC of "some error here" on prompts that nothing was trained or tuned on, with an interval from resampling
prompts. Baselines see the same tokens: the position in the answer alone, and boosted trees on hand features (position,
overlap of token and sentence with question and passages, novelty, length ...).

    python -m benchmarks.spans            both parts; the last line is one JSON object
    python -m benchmarks.spans --tune     a part of the train prompts instead of the held-out ones: for choosing options
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks import qa_data
from training.engine import passages
from training.engine.measures import auroc
from training.engine.models import ensure_base, load_base
from training.engine.scoring import SpanScorer
from training.engine.tokens import Span, render_chat, spans_to_token_weights
from training.recipes.context import Events, RunContext
from training.recipes.registry import get

ROOT = Path(__file__).resolve().parents[1]
QA_CONFIG = {  # chosen by cross-validation over the train prompts: with so few answers an adapter learns them by heart
    "rank": 0,
    "depth": 0.67,
    "pooled": True,
    "echo": False,
    "passage_tokens": 160,
    "epochs": 6,
    "batch_size": 8,
    "head_lr": 2e-3,
    "balance": "none",
    "label_weight": 0.2,
    "max_tokens": 2048,
    "precision": "auto",
    "micro_batch_tokens": 2048,
}
WORLD_CONFIG = {
    "epochs": 6,
    "batch_size": 8,
    "lr": 3e-3,
    "head_lr": 1e-2,
    "rank": 8,
    "echo": True,
    "passage_tokens": 160,
    "max_tokens": 1024,
}
RESAMPLES = 1000


class Answer:
    """A reviewed answer as words on which everybody is measured: its tokens and whether each is marked."""

    def __init__(self, row: dict[str, Any], tokenizer: Any) -> None:
        self.row = row
        self.text = row["text"]
        offsets = render_chat(tokenizer, row["messages"], response=self.text).response_offsets
        spans = [Span(span["start"], span["end"], -1.0) for span in row["spans"]]
        weights = spans_to_token_weights(self.text, offsets, spans, words_only=False)
        kept = [place for place, (start, end) in enumerate(offsets) if self.text[start:end].strip()]
        self.offsets = [offsets[place] for place in kept]
        self.bad = [weights[place] < 0 for place in kept]

    @cached_property
    def features(self) -> np.ndarray:
        """The hand features of its tokens."""
        return features(self)


def position(answer: Answer) -> list[float]:
    """The simplest baseline: how far into the answer a token stands."""
    return [start / max(1, len(answer.text)) for start, _ in answer.offsets]


def features(answer: Answer) -> np.ndarray:
    """Hand features of every token: where it stands, and how its sentence relates to question, passages and answer."""
    row, text = answer.row, answer.text
    question = set(passages.words(passages.question_of(row["messages"])))
    sources = [
        set(passages.words(passage["text"][start:end]))
        for passage in row["context"]
        for start, end in passages.sentences(passage["text"])
    ]
    everything = set().union(*sources) if sources else set()
    closest_to_question = max(sources, key=lambda words: overlap(words, question), default=set())
    places = passages.sentences(text)
    bags = [set(passages.words(text[start:end])) for start, end in places]
    whole = set().union(*bags) if bags else set()
    table = []
    for index, (bag, (left, right)) in enumerate(zip(bags, places, strict=True)):
        earlier = set().union(*bags[:index])
        best = max((overlap(words, bag) for words in sources), default=0.0)
        table.append(
            [
                index,
                index / len(bags),
                len(bags) - index - 1,
                len(bags),
                right - left,
                len(bag),
                overlap(question, bag),
                overlap(bag, question),
                overlap(bag, everything),
                best,
                overlap(bag, closest_to_question),
                overlap(bag, earlier),
                overlap(bag, whole - bag),
                sum(character.isdigit() for character in text[left:right]),
            ]
        )
    rows = []
    for start, end in answer.offsets:
        middle = (start + end) // 2
        at = next((i for i, (left, right) in enumerate(places) if left <= middle < right), len(places) - 1)
        left, right = places[at]
        word = next(iter(passages.words(word_at(text, start))), "")
        rows.append(
            [
                start,
                start / max(1, len(text)),
                len(text),
                len(text) - start,
                (start - left) / max(1, right - left),
                float(word in question),
                float(word in everything),
                float(not text[start:end].strip().isalnum()),
                *table[at],
            ]
        )
    return np.array(rows, dtype=np.float64)


def overlap(words: set[str], others: set[str]) -> float:
    """The share of `words` that are among `others`."""
    return len(words & others) / len(words) if words else 0.0


def word_at(text: str, place: int) -> str:
    """The word around a place."""
    left = right = place
    while left < len(text) and text[left].isspace():
        left += 1
    right = left
    while left and text[left - 1].isalnum():
        left -= 1
    while right < len(text) and text[right].isalnum():
        right += 1
    return text[left:right]


def trees(train: Sequence[Answer], test: Sequence[Answer], *, seed: int) -> list[list[float]]:
    """Boosted trees on the hand features, as good as we can make them: their size is chosen by cross-validation."""
    grid = [(leaves, rounds) for leaves in (3, 4, 8, 16) for rounds in (50, 100)]
    order = list(range(len(train)))
    random.Random(seed).shuffle(order)
    parts = [order[part::4] for part in range(4)]

    def make(leaves: int, rounds: int) -> HistGradientBoostingClassifier:
        return HistGradientBoostingClassifier(
            max_leaf_nodes=leaves,
            max_iter=rounds,
            learning_rate=0.05,
            min_samples_leaf=200,
            l2_regularization=1.0,
            random_state=seed,
        )

    def worth(leaves: int, rounds: int) -> float:
        scores: list[float] = []
        truth: list[bool] = []
        for part in parts:
            model = make(leaves, rounds).fit(*stack([train[i] for i in order if i not in set(part)]))
            for i in part:
                scores += model.predict_proba(train[i].features)[:, 1].tolist()
                truth += train[i].bad
        return auroc(scores, truth) or 0.0

    best = max(grid, key=lambda one: worth(*one))
    say(f"trees: {best[0]} leaves, {best[1]} rounds")
    model = make(*best).fit(*stack(train))
    return [model.predict_proba(answer.features)[:, 1].tolist() for answer in test]


def stack(answers: Sequence[Answer]) -> tuple[np.ndarray, np.ndarray]:
    """Features and truth of all tokens."""
    table = np.concatenate([answer.features for answer in answers])
    return table, np.array([bad for answer in answers for bad in answer.bad])


def measured(scores: Sequence[Sequence[float]], test: Sequence[Answer], *, seed: int = 0) -> dict[str, Any]:
    """AUROC over all tokens with a 95 % interval, prompts resampled."""
    chance = random.Random(seed)

    def over(places: Sequence[int]) -> float:
        value = auroc(
            [score for place in places for score in scores[place]], [bad for place in places for bad in test[place].bad]
        )
        return float("nan") if value is None else value

    everyone = range(len(test))
    again = sorted(over([chance.choice(everyone) for _ in everyone]) for _ in range(RESAMPLES))
    return {
        "auroc": round(over(everyone), 4),
        "low": round(again[int(0.025 * RESAMPLES)], 4),
        "high": round(again[int(0.975 * RESAMPLES)], 4),
    }


def difference(
    mine: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]], test: Sequence[Answer], *, seed: int = 0
) -> dict[str, float]:
    """How much more AUROC, with an interval over the same resampled prompts: tighter than two intervals apart."""
    chance = random.Random(seed)
    everyone = range(len(test))

    def over(places: Sequence[int]) -> float:
        truth = [bad for place in places for bad in test[place].bad]
        values = [auroc([s for place in places for s in scores[place]], truth) for scores in (mine, theirs)]
        return (values[0] or 0.5) - (values[1] or 0.5)

    again = sorted(over([chance.choice(everyone) for _ in everyone]) for _ in range(RESAMPLES))
    return {
        "more": round(over(everyone), 4),
        "low": round(again[int(0.025 * RESAMPLES)], 4),
        "high": round(again[int(0.975 * RESAMPLES)], 4),
    }


def compare(
    name: str, snapshot: Path, base: Path, config: dict[str, Any], *, threads: int, seed: int
) -> dict[str, Any]:
    """Train on the snapshot's train split, score its test split, and the same for the baselines."""
    tokenizer = load_base(base)[1]
    rows = [json.loads(line) for line in (snapshot / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    answers = {
        split: [Answer(row, tokenizer) for row in rows if row["split"] == split and row["text"].strip()]
        for split in ("train", "test")
    }
    train, test = answers["train"], answers["test"]
    say(f"{name}: {len(train)} train and {len(test)} held-out prompts, {sum(len(a.bad) for a in test)} held-out tokens")

    by_position = [position(answer) for answer in test]
    by_trees = trees(train, test, seed=seed)
    found: dict[str, Any] = {"position": measured(by_position, test), "trees": measured(by_trees, test)}
    say(f"{name}: position {found['position']}, trees {found['trees']}")

    directory, learned = snapshot / "run", snapshot / "train"
    directory.mkdir()
    learned.mkdir()
    (learned / "manifest.json").write_text((snapshot / "manifest.json").read_text())
    with (learned / "rows.jsonl").open("w", encoding="utf-8") as file:  # the recipe never sees a held-out row
        file.writelines(json.dumps(answer.row, ensure_ascii=False) + "\n" for answer in train)
    torch.set_num_threads(threads)
    began, cpu = time.monotonic(), time.process_time()
    run = RunContext(
        directory=directory,
        base_model=base,
        events=Talkative(directory / "events.jsonl"),
        snapshot=learned,
        seed=seed,
        threads=threads,
    )
    recipe = get("span_reward_model")
    recipe.train(run, recipe.config(config))
    scorer = SpanScorer.load(directory / "artifact", base=base)
    scored = scorer.score_many(
        [{"messages": a.row["messages"], "context": a.row["context"], "text": a.text} for a in test]
    )
    by_model = []
    for answer, tokens in zip(test, scored, strict=True):
        if tokens is None:
            raise SystemExit(f"{answer.row['response_id']} is too long to be scored; raise max_tokens.")
        by_model.append([token["bad"] for token in tokens if token["text"].strip()])
    found["span_reward_model"] = measured(by_model, test)
    found["more_than_trees"] = difference(by_model, by_trees, test)
    found["seconds"] = round(time.monotonic() - began)
    found["cpu_seconds"] = round(time.process_time() - cpu)
    say(f"{name}: span_reward_model {found['span_reward_model']} after {found['seconds']} s")
    return found


class Talkative(Events):
    """Events that are said on the way, too."""

    def write(self, kind: str, **fields: Any) -> None:
        super().write(kind, **fields)
        if kind == "log":
            say(fields["text"])
        elif kind == "metrics" and fields["step"] % 10 == 0:
            say(f"step {fields['step']} of {fields['total']}: loss {fields['values'].get('loss', 0):.4f}")


def world_snapshot(folder: Path, *, prompts: int, seed: int, missing: bool = False) -> Path:
    """The demo world's answers with their true defects marked; missing steps, which have no words, if asked for."""
    from training.worlds.support import World

    world, chance = World(0), random.Random(f"bench {seed}")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for prompt in world.prompts(prompts, seed=seed):
            answer = world.answer(prompt, chance)
            spans = [
                {
                    "start": defect.start,
                    "end": defect.end,
                    "quote": answer.text[defect.start : defect.end],
                    "sentiment": -1,
                    "label": defect.kind,
                    "author": "truth",
                }
                for defect in world.defects(prompt, answer.text)
                if missing or defect.start < defect.end
            ]
            row = {
                "split": "train" if prompt.split == "train" else "test",
                "kind": "response",
                "prompt_id": prompt.id,
                "messages": list(prompt.messages),
                "context": list(prompt.context),
                "response_id": prompt.id,
                "text": answer.text,
                "spans": spans,
                "reviewed": True,
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    (folder / "manifest.json").write_text("{}")
    return folder


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}, load {os.getloadavg()[0]:.1f}] {text}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tune", action="store_true", help="measure on a part of the train prompts")
    parser.add_argument("--only", choices=("qa", "world"), help="one of the two parts")
    parser.add_argument("--data", type=Path, default=qa_data.DATA, help="feedback.json of QA-Feedback")
    parser.add_argument("--bases", type=Path, default=Path(os.environ.get("DATA_DIR") or ROOT / "var") / "base")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--set", action="append", default=[], metavar="OPTION=JSON", help="another option of the QA run"
    )
    chosen = parser.parse_args()
    changes = {name: json.loads(value) for name, _, value in (one.partition("=") for one in chosen.set)}
    result: dict[str, Any] = {"load_before": round(os.getloadavg()[0], 1), "threads": chosen.threads}
    with tempfile.TemporaryDirectory(prefix="redpen-bench-spans-") as place:
        folder = Path(place)
        if chosen.only != "world":
            if chosen.data.exists():
                snapshot = qa_data.write_snapshot(folder / "qa", chosen.data, tuning=chosen.tune)
                base = Path(ensure_base(chosen.bases / "smollm2-135m", say=say))
                config = {**QA_CONFIG, **changes}
                result["qa"] = compare("QA", snapshot, base, config, threads=chosen.threads, seed=chosen.seed)
            else:
                result["qa"] = None
                say(f"There is no {chosen.data}: the real spans are left out.")
        if chosen.only != "qa":
            snapshot = world_snapshot(folder / "world", prompts=600, seed=1 + chosen.tune)
            base = Path(ensure_base(chosen.bases / "tiny", say=say))
            result["world"] = compare("world", snapshot, base, WORLD_CONFIG, threads=1, seed=chosen.seed)
    result["load_after"] = round(os.getloadavg()[0], 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
