"""What a training step costs against length, group size and the prompt's share: `make bench-train-costs`.

The engine beside plain transformers and peft (right-padded rows, logits of all places), the same random 25M Llama and
adapter, in one process, each point the best of its repeats: CPU-milliseconds of forward and backward for a useful token
(prompt and answer of every row). Writes docs/img/training-costs.svg.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import finish, say

PLOT = Path(__file__).resolve().parent.parent / "docs" / "img" / "training-costs.svg"
TOKENS = 1024  # of a micro-batch, for both: the plain path takes as many rows as fit when padded
VOCABULARY = (1000, 49_000)


@dataclass(frozen=True)
class Point:
    """A group of rows with one prompt."""

    x: float
    prompt: int
    completion: int
    group: int

    def rows(self) -> list[tuple[list[int], list[int]]]:
        """(prompt, completion) of each row; completions from half of `completion` to one and a half of it."""
        rng = random.Random(f"{self.prompt}-{self.completion}-{self.group}")
        prompt = [rng.randrange(*VOCABULARY) for _ in range(self.prompt)]
        return [
            (prompt, [rng.randrange(*VOCABULARY) for _ in range(round(self.completion * rng.uniform(0.5, 1.5)))])
            for _ in range(self.group)
        ]


@dataclass(frozen=True)
class Panel:
    """One of the plots."""

    title: str
    axis: str
    points: Sequence[Point]


PANELS = (
    Panel(
        "A pair, its prompt 128 tokens",
        "tokens of an answer",
        [Point(length, 128, length, 2) for length in (16, 32, 64, 128, 256, 512)],
    ),
    Panel(
        "Answers of 48 tokens, their prompt 192",
        "answers to a prompt",
        [Point(group, 192, 48, group) for group in (1, 2, 4, 8, 16)],
    ),
    Panel(
        "Four rows of 384 tokens",
        "share of the prompt",
        [Point(share, round(384 * share), round(384 * (1 - share)), 4) for share in (0.05, 0.25, 0.5, 0.75, 0.95)],
    ),
)


class Sides:
    """Both ways on one model."""

    def __init__(self) -> None:
        from benchmarks.train.start import RANK, start
        from training import engine

        self.engine = engine
        self.policy = engine.policy.Policy.load(start("25m").base, lora=engine.policy.Lora(rank=RANK))
        self.policy.model.train()

    def ours(self, rows: Sequence[tuple[list[int], list[int]]]) -> float:
        """The rows as one unit."""
        packs, logprobs = self.engine.packs, self.engine.logprobs
        unit = [
            packs.Row(name=str(n), ids=[*prompt, *answer], trained=[False] * len(prompt) + [True] * len(answer))
            for n, (prompt, answer) in enumerate(rows)
        ]
        total = 0.0
        for pack in packs.micro_batches([unit], tokens=max(TOKENS, sum(len(row.ids) for row in unit))):
            loss = self.engine.objectives.sft(logprobs.completion_logprobs(self.policy.model, pack).values)
            loss.total.backward()
            total += float(loss.total.detach())
        return total

    def plain(self, rows: Sequence[tuple[list[int], list[int]]]) -> float:
        """Padded, and every place has its logits."""
        import torch

        longest = max(len(prompt) + len(answer) for prompt, answer in rows)
        together, total = max(1, TOKENS // longest), 0.0
        for start in range(0, len(rows), together):
            part = rows[start : start + together]
            longest = max(len(prompt) + len(answer) for prompt, answer in part)
            ids = torch.zeros(len(part), longest, dtype=torch.int64)
            seen, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
            for n, (prompt, answer) in enumerate(part):
                end = len(prompt) + len(answer)
                ids[n, :end] = torch.tensor([*prompt, *answer])
                seen[n, :end] = 1
                labels[n, len(prompt) : end] = ids[n, len(prompt) : end]
            loss = self.policy.model(
                input_ids=ids, attention_mask=seen, labels=labels, num_items_in_batch=torch.tensor(1), use_cache=False
            ).loss
            loss.backward()
            total += float(loss.detach())
        return total

    def cost(self, side: Callable[[Any], float], point: Point, repeats: int) -> tuple[float, float]:
        """CPU-milliseconds a useful token, and the loss."""
        rows = point.rows()
        best, loss = float("inf"), 0.0
        for _ in range(repeats):
            self.policy.model.zero_grad(set_to_none=True)
            started = time.process_time()
            loss = side(rows)
            best = min(best, time.process_time() - started)
        return 1000 * best / sum(len(prompt) + len(answer) for prompt, answer in rows), loss


def main(repeats: int = 3) -> None:
    import torch

    torch.set_num_threads(1)
    sides = Sides()
    for side in (sides.ours, sides.plain):  # the first call warms up
        sides.cost(side, PANELS[1].points[0], 1)
    drawn, figures = [], {}
    for panel in PANELS:
        lines: dict[str, list[tuple[float, float]]] = {"Redpen": [], "padded": []}
        for point in panel.points:
            ours, mine = sides.cost(sides.ours, point, repeats)
            plain, other = sides.cost(sides.plain, point, repeats)
            if abs(mine - other) > 1e-4 * abs(other):
                raise SystemExit(f"The losses are {mine} and {other}: the two do not compute the same.")
            lines["Redpen"].append((point.x, ours))
            lines["padded"].append((point.x, plain))
            say(f"{panel.axis:<20} {point.x:>6}: {ours:.2f} and {plain:.2f} CPU-ms a token, {plain / ours:.1f} times")
        figures[panel.axis] = [round(b / a, 2) for (_, a), (_, b) in zip(*lines.values(), strict=True)]
        drawn.append((panel, lines))
    PLOT.parent.mkdir(exist_ok=True)
    PLOT.write_text(svg(drawn))
    finish(times_cheaper=figures, load=round(os.getloadavg()[0], 1), plot=str(PLOT))


# --- the plot: three panels side by side, cost on a common scale from 0

WIDTH, HEIGHT, LEFT, TOP, WIDE, HIGH = 960, 300, 52, 40, 250, 190
COLOURS = {"Redpen": "#0b6e4f", "padded": "#a23b2a"}  # told apart by their dashes too


def svg(drawn: Sequence[tuple[Panel, dict[str, list[tuple[float, float]]]]]) -> str:
    """The figure, readable without colours and on light and dark pages."""
    highest = max(cost for _, lines in drawn for line in lines.values() for _, cost in line) * 1.1
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'font-family="system-ui, sans-serif" font-size="12" fill="#222">',
        "<title>CPU time of a useful token in training, Redpen beside padded batches</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
    for number, (panel, lines) in enumerate(drawn):
        parts += _panel(LEFT + number * (WIDE + 55), panel, lines, highest, first=number == 0, named=number == 1)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(
    left: int, panel: Panel, lines: dict[str, list[tuple[float, float]]], highest: float, *, first: bool, named: bool
) -> list[str]:
    bottom = TOP + HIGH

    def across(place: int) -> float:
        return left + WIDE * (place + 0.5) / len(panel.points)

    def up(cost: float) -> float:
        return bottom - HIGH * cost / highest

    parts = [
        f'<text x="{left}" y="{TOP - 16}" font-weight="600">{panel.title}</text>',
        f'<path d="M{left} {TOP}V{bottom}H{left + WIDE}" fill="none" stroke="#888"/>',
        f'<text x="{left + WIDE / 2}" y="{bottom + 38}" text-anchor="middle">{panel.axis}</text>',
    ]
    for tick in range(0, int(highest) + 1, max(1, int(highest) // 4)):
        parts.append(f'<text x="{left - 6}" y="{up(tick) + 4:.1f}" text-anchor="end" fill="#555">{tick}</text>')
    if first:
        parts.append(
            f'<text transform="translate(14 {TOP + HIGH / 2}) rotate(-90)" text-anchor="middle">'
            "CPU-ms a useful token</text>"
        )
    for place, point in enumerate(panel.points):
        parts.append(
            f'<text x="{across(place):.1f}" y="{bottom + 18}" text-anchor="middle" fill="#555">{point.x:g}</text>'
        )
    for name, line in lines.items():
        places = [(across(place), up(cost)) for place, (_, cost) in enumerate(line)]
        dash = ' stroke-dasharray="6 4"' if name == "padded" else ""
        steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path d="M{steps}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"{dash}/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{COLOURS[name]}"/>' for x, y in places]
        if named:
            x, y = places[-1]
            parts.append(
                f'<text x="{x - 4:.1f}" y="{y - 8:.1f}" text-anchor="end" fill="{COLOURS[name]}">{name}</text>'
            )
    return parts


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main(*(int(argument) for argument in sys.argv[1:2]))
