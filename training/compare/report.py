"""From evaluations to one table: means over seeds with their intervals, win rates, costs, paired tests. Pure Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from training.compare.stats import Estimate, Paired, holm, interval, paired


@dataclass(frozen=True)
class Measured:
    """One evaluation and what stands behind it."""

    subject: str
    seed: int | None  # None: the model that all start from
    metric: str
    worth: float
    answers: Sequence[tuple[str, float | None]]  # (prompt, worth), the same prompts and seeds for all
    acts: int  # of people, that its policy and its judge learned from
    tokens: float  # written by its policy and its judge while they learned
    cpu_seconds: float
    memory: float  # bytes, the highest of its runs
    run: int
    checked: bool = False  # a program judged its answers while it learned


@dataclass
class Line:
    """A row of the table: one thing that was compared, over its seeds."""

    subject: str
    seeds: list[int]
    worths: dict[int, float]
    worth: Estimate
    rise: Estimate | None
    win_rate: Estimate | None
    acts: Estimate
    tokens: Estimate
    cpu_seconds: Estimate
    memory: Estimate
    runs: list[int]
    checked: bool = False

    @property
    def megabytes(self) -> float:
        return self.memory.mean / 2**20


@dataclass
class Against:
    """Two things that were compared, by a paired test over the seeds that both have."""

    a: str
    b: str
    paired: Paired
    p_holm: float | None = None


@dataclass
class Report:
    """What is known so far; `lines` from the best down."""

    metric: str
    before: float | None
    answers: int
    lines: list[Line] = field(default_factory=list)
    against: list[Against] = field(default_factory=list)  # every pair, the better one first
    level: float = 0.95

    @property
    def best(self) -> str:
        return self.lines[0].subject if self.lines else ""

    @property
    def against_best(self) -> list[Against]:
        """Each beside the best."""
        return [one for one in self.against if one.a == self.best]

    @property
    def seeds(self) -> int:
        return max((len(line.seeds) for line in self.lines), default=0)

    def as_json(self) -> dict[str, Any]:
        """For the API and for files."""
        return asdict(self)


def report_of(measured: Sequence[Measured], *, order: Sequence[str], level: float = 0.95) -> Report:
    """The table. Without an evaluation it is empty; without one of the first model it tells no rise and no win rate."""
    start = next((one for one in measured if one.seed is None), None)
    metric = measured[0].metric if measured else ""
    lines = []
    for subject in order:
        found = sorted((one for one in measured if one.subject == subject and one.seed is not None), key=_seed)
        if found:
            lines.append(line_of(subject, found, start, level))
    lines.sort(key=lambda line: -line.worth.mean)
    against = []
    for place, better in enumerate(lines):
        for other in lines[place + 1 :]:
            tested = paired(better.worths, other.worths)
            if tested is not None:
                against.append(Against(better.subject, other.subject, tested))
    for one, corrected in zip(against, holm([one.paired.p for one in against]), strict=True):
        one.p_holm = corrected
    answers = len(start.answers) if start else max((len(one.answers) for one in measured), default=0)
    return Report(metric, start.worth if start else None, answers, lines, against, level)


def line_of(subject: str, found: Sequence[Measured], start: Measured | None, level: float) -> Line:
    def over_seeds(values: Sequence[float]) -> Estimate:
        return interval(values, level=level)

    wins = [win_rate(one, start) for one in found] if start else []
    won = [value for value in wins if value is not None]
    return Line(
        subject=subject,
        seeds=[_seed(one) for one in found],
        worths={_seed(one): one.worth for one in found},
        worth=over_seeds([one.worth for one in found]),
        rise=over_seeds([one.worth - start.worth for one in found]) if start else None,
        win_rate=over_seeds(won) if len(won) == len(found) and won else None,
        acts=over_seeds([float(one.acts) for one in found]),
        tokens=over_seeds([one.tokens for one in found]),
        cpu_seconds=over_seeds([one.cpu_seconds for one in found]),
        memory=over_seeds([one.memory for one in found]),
        runs=[one.run for one in found],
        checked=any(one.checked for one in found),
    )


def win_rate(one: Measured, start: Measured) -> float | None:
    """The share of held-out answers that are worth more than the first model's to the same prompt with the same seed;
    a tie is half. None where the two were not asked the same.
    """
    if [prompt for prompt, _ in one.answers] != [prompt for prompt, _ in start.answers]:
        return None
    pairs = [
        (mine, theirs)
        for (_, mine), (_, theirs) in zip(one.answers, start.answers, strict=True)
        if mine is not None and theirs is not None
    ]
    if not pairs:
        return None
    return sum((mine > theirs) + 0.5 * (mine == theirs) for mine, theirs in pairs) / len(pairs)


def _seed(one: Measured) -> int:
    assert one.seed is not None
    return one.seed


METRICS = {"truth/quality": "true quality", "held_out_reward": "held-out reward"}


def markdown(report: Report) -> str:
    """The table for docs/results.md and the terminal."""
    name = METRICS.get(report.metric, report.metric)
    lines = [
        f"| recipe | {name} | rise | wins against the first model | label acts | tokens written | CPU-s | peak MB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    if report.before is not None:
        lines.append(f"| before | {report.before:.3f} | | | 0 | 0 | 0 | |")
    for line in report.lines:
        cells = (
            line.subject,
            words(line.worth),
            words(line.rise, signed=True),
            words(line.win_rate),
            f"{line.acts.mean:.0f}" + (", asks a program" if line.checked else ""),
            f"{line.tokens.mean:,.0f}",
            f"{line.cpu_seconds.mean:.1f}",
            f"{line.megabytes:.0f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    if report.against_best:
        lines += [
            "",
            f"| {report.best} beside | difference | p (paired t) | p (Holm, all pairs) |",
            "| --- | --- | --- | --- |",
        ]
        for one in report.against_best:
            difference = words(one.paired.difference, signed=True)
            lines.append(f"| {one.b} | {difference} | {p_words(one.paired.p)} | {p_words(one.p_holm)} |")
    return "\n".join(lines) + "\n"


def words(value: Estimate | None, *, signed: bool = False) -> str:
    """0.612 (0.590 to 0.634)."""
    if value is None:
        return ""
    sign = "+" if signed else ""
    text = f"{value.mean:{sign}.3f}"
    if value.low is None or value.high is None:
        return text
    return f"{text} ({value.low:{sign}.3f} to {value.high:{sign}.3f})"


def p_words(p: float | None) -> str:
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
