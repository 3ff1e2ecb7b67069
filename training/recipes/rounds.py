"""A round of raft: its answers and what was kept, in figures, and for people to look at."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training import engine
from training.recipes import ranking
from training.recipes.answers import Answers
from training.recipes.asking import Ask, question_of
from training.recipes.context import RunContext
from training.recipes.rejection_sampling import best_of
from training.recipes.rewarding import Judge

if TYPE_CHECKING:
    from training.engine.rollouts import Sample

COMPARED = 64  # preferences of people with which the judge is compared


@dataclass
class Round:
    """A round's answers with what they are worth in the ranking; `ranked` None: never kept, and `dropped` says why."""

    answers: Answers
    ranked: list[list[float | None]]
    dropped: list[list[str]]
    kept: list[list[int]]  # places, for each prompt

    @property
    def chosen(self) -> list[tuple[Ask, Sample]]:
        """What is learned."""
        groups = zip(self.answers.asks, self.answers.groups, self.kept, strict=True)
        return [(ask, group[place]) for ask, group, places in groups for place in places]


def describe(found: Round) -> dict[str, float]:
    """The round in figures: rewards of all, of the best and of the kept, what best-of-n alone would give, and what
    tells of trouble: ties, drops, sameness.
    """
    answers, samples = found.answers, found.answers.flat
    groups = [[value for value in row if value is not None] for row in found.ranked]
    scored = [row for row in groups if row]
    everyone = [value for row in scored for value in row]
    kept = [one for _, one in found.chosen]
    worth = [found.ranked[p][k] or 0.0 for p, places in enumerate(found.kept) for k in places]
    dropped = [why for row in found.dropped for why in row if why]
    whole = [row for row in groups if len(row) == len(answers.groups[0])]
    sizes = [2**power for power in range(1, len(answers.groups[0]).bit_length())] if whole else []
    figures = {
        "kept": float(len(kept)),
        "skipped_prompts": sum(not places for places in found.kept) / len(found.kept),
        "equal_prompts": sum(len(row) > 1 and len(set(row)) == 1 for row in groups) / len(groups),
        "dropped_answers": len(dropped) / len(samples),
        "unscorable": sum(why == "cannot be scored" for why in dropped) / len(samples),
        "filtered": sum(why == "forbidden" for why in dropped) / len(samples),
        "answer_tokens": sum(len(one.ids) for one in samples) / len(samples),
        **ranking.variety([one.text for one in samples]),
        **{f"kept_{name}": value for name, value in ranking.variety([one.text for one in kept]).items()},
        **{f"best_of_{n}": sum(best_of(row, n) for row in whole) / len(whole) for n in sizes},
    }
    if everyone:
        figures["reward"] = sum(everyone) / len(everyone)
        figures["best_reward"] = sum(map(max, scored)) / len(scored)
    if kept:
        figures["kept_reward"] = sum(worth) / len(worth)
        figures["kept_tokens"] = sum(len(one.ids) for one in kept) / len(kept)
    return figures


def agreement(run: RunContext, judge: Judge) -> dict[str, float]:
    """How often the judge likes better what people preferred, on preferences of dev and test; a tie of the judge's is
    half.
    """
    rows = [row for split in ("dev", "test") for row in run.rows(split, kind="preference") if row["choice"] in "ab"]
    if not (rows := rows[:COMPARED]):
        return {}
    asks = [Ask(str(row["prompt_id"]), row["messages"], row["context"] or [], []) for row in rows for _ in "ab"]
    texts = [row[side]["text"] for row in rows for side in "ab"]
    told = judge(asks, [engine.rollouts.Sample(0, 0, [], [], text, True) for text in texts]).total.tolist()
    right = []
    for row, a, b in zip(rows, told[::2], told[1::2], strict=True):
        if not math.isnan(a + b):
            right.append(0.5 if a == b else float((a > b) == (row["choice"] == "a")))
    return {"agreement": sum(right) / len(right)} if right else {}


def write_kept(run: RunContext, number: int, found: Round) -> None:
    """The round's whole set, beside the artifact: what was sampled, how it scored, what was kept, and why not."""
    with (run.artifact_path / f"round-{number + 1}.jsonl").open("w", encoding="utf-8") as file:
        for place, ask in enumerate(found.answers.asks):
            line = {"prompt_id": ask.prompt_id, "answers": told(found, place, seeds=True)}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def show(run: RunContext, step: int, found: Round, n: int = 3) -> None:
    """A few prompts of the round with all their answers side by side."""
    for place, ask in list(enumerate(found.answers.asks))[:n]:
        run.sample(step, prompt_id=ask.prompt_id, question=question_of(ask), answers=told(found, place))


def told(found: Round, place: int, *, seeds: bool = False) -> list[dict[str, Any]]:
    """The answers to one prompt."""
    return [
        {
            "text": one.text,
            "reward": worth,
            "dropped": why,
            **({"seed": one.seed} if seeds else {}),
            "kept": index in found.kept[place],
        }
        for index, (one, worth, why) in enumerate(
            zip(found.answers.groups[place], found.ranked[place], found.dropped[place], strict=True)
        )
    ]
