"""Refinements of a step's answers: which one joins its group, what they brought in figures, and their table for people.

A refinement is an answer written again after something was said of it. In a group it stands in the place of the first
attempt, as an answer to the plain prompt.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from training import engine
from training.recipes.answers import Answers
from training.recipes.asking import question_of
from training.recipes.context import RunContext

if TYPE_CHECKING:
    from torch import Tensor

    from training.engine.rollouts import Sample

RIGHT = 1.0 - 1e-9  # the reward of an answer that is right
TABLE = "refinements.jsonl"  # beside the artifact


@dataclass
class Refinement:
    """An answer, what was said of it, and the answer that was written after that."""

    before: str
    reward: float  # NaN: nobody judged it
    critique: str
    by: str
    after: Sample | None = None
    worth: float = math.nan
    fell_back: bool = False
    chosen: bool = False


def choose(worths: Sequence[float]) -> int | None:
    """Which refinement joins the group: the first that is right, else the first of the best; None where none was
    judged.
    """
    judged = [(worth, -place) for place, worth in enumerate(worths) if not math.isnan(worth)]
    right = next((place for place, worth in enumerate(worths) if worth >= RIGHT), None)
    return right if right is not None else (-max(judged)[1] if judged else None)


def joined(attempts: Answers, found: Sequence[Sequence[Refinement]]) -> tuple[Answers, Tensor]:
    """The groups with the chosen refinement in the place of the first attempt, and bool [Q, G]: where one stands."""
    import torch

    rewards, refined = attempts.rewards.clone(), torch.zeros(attempts.rewards.shape, dtype=torch.bool)
    groups = [list(group) for group in attempts.groups]
    for number, group in enumerate(found):
        for one in group:
            if one.chosen and one.after is not None:
                groups[number][0] = one.after
                rewards[number, 0], refined[number, 0] = one.worth, True
    return replace(attempts, groups=groups, rewards=rewards, places=None), refined


def told(attempts: Answers, found: Sequence[Sequence[Refinement]], group: Answers) -> dict[str, float]:
    """What refining brought: groups by how they were solved, R' - R, lengths, critics that failed."""
    if not found:
        return {}
    everyone = [one for of_group in found for one in of_group]
    after = [one for one in everyone if one.after is not None]
    figures = {
        "groups/solved": sum(map(solved, attempts.rewards.tolist())) / len(found),
        "groups/rescued": sum(
            rescued(rewards, of_group) for rewards, of_group in zip(attempts.rewards.tolist(), found, strict=True)
        )
        / len(found),
        "groups/flat": 1 - engine.credit.has_spread(group.rewards).double().mean().item(),
        "critic/fallback": sum(one.fell_back for one in everyone) / max(1, len(everyone)),
        "refinement/missing": 1 - len(after) / max(1, len(everyone)),
    }
    if after:
        figures["refinement/tokens"] = sum(len(one.after.ids) for one in after) / len(after)
    if worths := [one.worth for one in after if not math.isnan(one.worth)]:
        figures["refinement/reward"] = sum(worths) / len(worths)
    if gains := [one.worth - one.reward for one in after if not math.isnan(one.worth - one.reward)]:
        figures["refinement/gain"] = sum(gains) / len(gains)
    return figures


def solved(rewards: Sequence[float]) -> bool:
    """Whether one of the attempts is right."""
    return any(reward >= RIGHT for reward in rewards)


def rescued(rewards: Sequence[float], group: Sequence[Refinement]) -> bool:
    """Whether no attempt is right, and the refinement that joined the group is."""
    return not solved(rewards) and any(one.chosen and one.worth >= RIGHT for one in group)


def write_table(run: RunContext, step: int, attempts: Answers, found: Sequence[Sequence[Refinement]]) -> None:
    """Add the step's refinements to the table beside the artifact."""
    with (run.artifact_path / TABLE).open("a", encoding="utf-8") as file:
        for ask, rewards, group in zip(attempts.asks, attempts.rewards.tolist(), found, strict=True):
            for one in group:
                line = {
                    "step": step,
                    "prompt_id": ask.prompt_id,
                    "answer": one.before,
                    "critique": one.critique,
                    "critic": one.by,
                    "refinement": None if one.after is None else one.after.text,
                    "reward": number(one.reward),
                    "refined_reward": number(one.worth),
                    "chosen": one.chosen,
                    "rescued": one.chosen and rescued(rewards, group),
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


def show(run: RunContext, step: int, attempts: Answers, found: Sequence[Sequence[Refinement]], n: int = 2) -> None:
    """A few answers with what was said of them and what came of it, those that were rescued first."""
    lines = zip(attempts.asks, attempts.rewards.tolist(), found, strict=True)
    groups = sorted(lines, key=lambda line: not rescued(line[1], line[2]))
    for ask, rewards, group in groups[:n]:
        one = next((one for one in group if one.chosen), None)
        if one is None or one.after is None:
            continue
        before = {"text": one.before, "reward": number(one.reward), "critique": one.critique}
        after = {
            "text": one.after.text,
            "reward": number(one.worth),
            "kept": True,
            "rescued": rescued(rewards, group),
            "diff": differences(one.before, one.after.text),
        }
        run.sample(
            step,
            prompt_id=ask.prompt_id,
            question=question_of(ask),
            answers=[before, after],
        )


def differences(before: str, after: str) -> list[tuple[str, str]]:
    """The second text as changes of the first, word by word: ("same" | "gone" | "new", words)."""
    one, other = (re.findall(r"\s+|\S+", text) for text in (before, after))
    found = []
    for what, a, b, c, d in difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if what == "equal":
            found.append(("same", "".join(one[a:b])))
            continue
        found += [(kind, "".join(words)) for kind, words in (("gone", one[a:b]), ("new", other[c:d])) if words]
    return found


def number(value: float) -> float | None:
    """For JSON."""
    return None if math.isnan(value) else value
