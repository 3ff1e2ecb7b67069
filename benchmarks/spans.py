"""span_reward_model on real human spans (QA-Feedback) and on the demo world, beside honest baselines.

Token-level AUROC, average precision and F1 of "some error here" on prompts that nothing was trained or tuned on, with
intervals from resampling prompts; of the real spans also by type of error, with and without the passages, and whether
the model's reward agrees with people's preferences. Baselines see the same tokens: the position in the answer alone;
boosted trees and a penalised logistic regression on the evidence that the model is given, too (`engine.evidence`).

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
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks import qa_data, span_figures
from training.engine.evidence import evidence
from training.engine.measures import auroc
from training.engine.models import ensure_base, load_base
from training.engine.scoring import SpanScorer, TokenScore, reward
from training.engine.tokens import Span, render_chat, spans_to_token_weights
from training.recipes.context import Events, RunContext
from training.recipes.registry import get

ROOT = Path(__file__).resolve().parents[1]
QA_CONFIG = {  # chosen by cross-validation over the train prompts: with so few answers an adapter learns them by heart
    "rank": 0,
    "fit": "exact",
    "depth": 0.67,
    "pooled": True,
    "phrases": True,
    "evidence": True,
    "echo": False,
    "passage_tokens": 160,
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
OURS, BLIND = "span_reward_model", "without passages"
ENOUGH = 30  # held-out spans of a type of error, to be measured apart


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
        """The hand features of its tokens: where each stands, how its sentence relates to question and passages."""
        return np.array(evidence(self.row["messages"], self.row["context"], self.text, self.offsets))

    def of_type(self, label: str) -> list[bool]:
        """Whether each of its tokens is marked with this type of error."""
        spans = [Span(span["start"], span["end"], -1.0) for span in self.row["spans"] if span["label"] == label]
        weights = spans_to_token_weights(self.text, self.offsets, spans, words_only=False)
        return [weight < 0 for weight in weights[: len(self.offsets)]]


def position(answer: Answer) -> list[float]:
    """The simplest baseline: how far into the answer a token stands."""
    return [start / max(1, len(answer.text)) for start, _ in answer.offsets]


def trees(
    train: Sequence[Answer], test: Sequence[Answer], *, seed: int, label: str = "", size: tuple[int, int] | None = None
) -> tuple[list[list[float]], tuple[int, int]]:
    """Boosted trees on the hand features, as good as we can make them: their size is chosen by cross-validation."""
    grid = [size] if size else [(leaves, rounds) for leaves in (3, 4, 8, 16) for rounds in (50, 100)]
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
            model = make(leaves, rounds).fit(*stack([train[i] for i in order if i not in set(part)], label))
            for i in part:
                scores += model.predict_proba(train[i].features)[:, 1].tolist()
                truth += marked(train[i], label)
        return auroc(scores, truth) or 0.0

    best = grid[0] if len(grid) == 1 else max(grid, key=lambda one: worth(*one))
    model = make(*best).fit(*stack(train, label))
    return [model.predict_proba(answer.features)[:, 1].tolist() for answer in test], best


def regression(train: Sequence[Answer], test: Sequence[Answer], *, label: str = "") -> list[list[float]]:
    """Logistic regression on the same features, its penalty chosen by cross-validation over answers."""
    table, truth = stack(train, label)
    prompts = np.repeat(np.arange(len(train)), [len(answer.bad) for answer in train])
    folds = list(GroupKFold(4, shuffle=True, random_state=0).split(table, truth, prompts))
    model = make_pipeline(
        StandardScaler(),
        GridSearchCV(LogisticRegression(), {"C": [1e-4, 1e-3, 1e-2, 1e-1]}, cv=folds, scoring="roc_auc"),
    ).fit(table, truth)
    return [model.predict_proba(answer.features)[:, 1].tolist() for answer in test]


def marked(answer: Answer, label: str = "") -> list[bool]:
    """Whether each token is marked: with this type of error, or with any."""
    return answer.of_type(label) if label else answer.bad


def stack(answers: Sequence[Answer], label: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Features and truth of all tokens."""
    table = np.concatenate([answer.features for answer in answers])
    return table, np.array([bad for answer in answers for bad in marked(answer, label)])


class Model:
    """The recipe, trained on the snapshot's train split, and what it says of answers."""

    def __init__(self, folder: Path, snapshot: Path, base: Path, config: dict[str, Any], *, threads: int, seed: int):
        folder.mkdir()
        torch.set_num_threads(threads)
        began, cpu = time.monotonic(), time.process_time()
        run = RunContext(
            directory=folder,
            base_model=base,
            events=Talkative(folder / "events.jsonl"),
            snapshot=snapshot,
            seed=seed,
            threads=threads,
        )
        recipe = get("span_reward_model")
        recipe.train(run, recipe.config(config))
        self.seconds, self.cpu = round(time.monotonic() - began), round(time.process_time() - cpu)
        self.scorer = SpanScorer.load(folder / "artifact", base=base)

    def tokens(self, answers: Sequence[Answer]) -> list[list[TokenScore]]:
        """What it says of each token that is measured on."""
        found = []
        items = [{"messages": a.row["messages"], "context": a.row["context"], "text": a.text} for a in answers]
        for answer, tokens in zip(answers, self.scorer.score_many(items), strict=True):
            if tokens is None:
                raise SystemExit(f"{answer.row['response_id']} is too long to be scored; raise max_tokens.")
            found.append([token for token in tokens if token["text"].strip()])
        return found


def bad(tokens: Sequence[Sequence[TokenScore]], label: str = "") -> list[list[float]]:
    """How likely each token is wrong, or wrong in this way."""
    return [[token["labels"][label] if label else token["bad"] for token in of_answer] for of_answer in tokens]


def compare(
    name: str,
    snapshot: Path,
    base: Path,
    config: dict[str, Any],
    *,
    threads: int,
    seed: int,
    labels: Sequence[str] = (),
    preferences: dict[str, tuple[list[str], list[tuple[int, int]]]] | None = None,
    blind: bool = False,
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
    learned = snapshot / "train"
    learned.mkdir()
    (learned / "manifest.json").write_text((snapshot / "manifest.json").read_text())
    with (learned / "rows.jsonl").open("w", encoding="utf-8") as file:  # the recipe never sees a held-out row
        file.writelines(json.dumps(answer.row, ensure_ascii=False) + "\n" for answer in train)

    model = Model(snapshot / "run", learned, base, config, threads=threads, seed=seed)
    tokens = {OURS: model.tokens(test)}
    say(f"{name}: {OURS} after {model.seconds} s ({model.cpu} CPU-s)")
    found: dict[str, Any] = {"seconds": model.seconds, "cpu_seconds": model.cpu}
    if blind:
        without = Model(snapshot / "blind", learned, base, {**config, "passage_tokens": 0}, threads=threads, seed=seed)
        tokens[BLIND] = without.tokens(test)

    size = None
    for label in ("", *labels):
        share = float(np.mean([value for answer in train for value in marked(answer, label)]))
        later = auroc(
            [at for one in train for at in position(one)], [bad for one in train for bad in marked(one, label)]
        )
        sign = 1 if (later or 0.5) >= 0.5 else -1
        by_trees, size = trees(train, test, seed=seed, label=label, size=size)
        methods = {
            "position": [[sign * at for at in position(answer)] for answer in test],
            "trees": by_trees,
            "regression": regression(train, test, label=label),
            **{which: bad(of_model, label) for which, of_model in tokens.items()},
        }
        truth = [marked(answer, label) for answer in test]
        what = label or "any"
        found[what] = span_figures.table(methods, truth, share=share, over="trees", seed=seed)
        spans = sum(not label or span["label"] == label for answer in test for span in answer.row["spans"])
        found[what]["held_out_spans"], found[what]["share"] = spans, round(float(np.mean(np.concatenate(truth))), 4)
        say(f"{name}, {what}: {spans} held-out spans, {share:.3f} of the train tokens marked; trees of {size}")
        for line in span_figures.lines({which: found[what][which] for which in methods}, "trees"):
            say(line)
    if preferences:
        found["preferences"] = agreements(model, train, test, preferences, tokenizer, size, seed=seed)
        say(f"{name}: agreement with preferences {found['preferences']}")
    return found


def agreements(
    model: Model,
    train: Sequence[Answer],
    test: Sequence[Answer],
    preferences: dict[str, tuple[list[str], list[tuple[int, int]]]],
    tokenizer: Any,
    size: tuple[int, int] | None,
    *,
    seed: int,
) -> dict[str, Any]:
    """How often each reduction to one number ranks two predictions as people did, beside length and the trees."""
    every, pairs = [], []
    for answer in test:
        texts, own = preferences[answer.row["response_id"]]
        every += [Answer({**answer.row, "text": text, "spans": []}, tokenizer) for text in texts]
        pairs.append(own)
    of_trees, _ = trees(train, every, seed=seed, size=size)
    tokens = model.tokens(every)
    rewards = {
        "longer": [float(len(answer.text)) for answer in every],
        "trees, mean": [-float(np.mean(one)) for one in of_trees],
        "span_reward_model, mean": [reward(one) for one in tokens],
        "span_reward_model, phrases": [reward(one, reduction="phrases") for one in tokens],
    }
    found: dict[str, Any] = {"pairs": sum(map(len, pairs))}
    for name, values in rewards.items():
        by_prompt = [values[place : place + 4] for place in range(0, len(values), 4)]
        found[name] = span_figures.agreement(by_prompt, pairs, seed=seed)
    return found


class Talkative(Events):
    """Events that are said on the way, too."""

    def write(self, kind: str, **fields: Any) -> None:
        super().write(kind, **fields)
        if kind == "log":
            say(fields["text"])
        elif kind == "metrics" and fields["step"] % 10 == 0 and "loss" in fields["values"]:
            say(f"step {fields['step']} of {fields['total']}: loss {fields['values']['loss']:.4f}")


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
                result["qa"] = compare(
                    "QA",
                    snapshot,
                    base,
                    config,
                    threads=chosen.threads,
                    seed=chosen.seed,
                    labels=qa_data.often(snapshot, ENOUGH),
                    preferences=qa_data.preferences(chosen.data, tuning=chosen.tune),
                    blind=True,
                )
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
