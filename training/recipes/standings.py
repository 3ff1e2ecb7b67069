"""How a policy that plays against itself stands: against its reference, and against what it was before.

Against itself it always wins one half, so that says nothing. Answers to the same held-out prompts are kept at every
look, and compared with those of every earlier look; what they were stands beside the artifact, so that a run that goes
on after a stop needs no old weights.

    exploitability   how often the best of the earlier ones beats the one that is looked at, minus 1/2
    cycle report     do the looks, and do the commonest answers to one prompt, beat each other in circles? `circles` is
                     the share of triples that do, `curl` the share of the log-odds that no scores explain, `residual`
                     how far the chances are from those of the best scores (Bradley and Terry's), on average
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from training.recipes.asking import Ask, draw, question_of
from training.recipes.before_after import BeforeAfter
from training.recipes.context import RunContext
from training.recipes.raters import Match, Rater, by_program

if TYPE_CHECKING:
    from training.engine.policy import Policy
    from training.engine.rollouts import Sample
    from training.recipes.spo import Config

FILE = "standings.jsonl"  # beside the artifact: every look's answers and wins
REPORT = "cycles.json"  # ... and at the end: who beats whom
MIXTURE = "mixture"  # the folder beside the artifact with the adapters of earlier looks
COMMONEST = 6  # answers to a prompt that the report compares


class Standings:
    """The looks of a run so far. The first is the reference's: the policy before it learned anything."""

    def __init__(self, run: RunContext, asks: Sequence[Ask], rater: Rater, *, truth: str = "") -> None:
        self.run, self.asks, self.rater, self.truth = run, list(asks), rater, truth
        self.path = run.artifact_path / FILE
        self.looks: list[tuple[str, list[list[Sample]]]] = []
        self.wins: list[list[float]] = []  # of each look, against every earlier one

    def restore(self) -> None:
        """The looks of the attempts before this one, from beside the artifact."""
        from training.engine.rollouts import Sample

        self.looks, self.wins = [], []
        for line in self.path.read_text("utf-8").splitlines() if self.path.exists() else []:
            told = json.loads(line)
            groups = [
                [Sample(prompt=0, seed=0, ids=[], logprobs=[], text=text, finished=done) for text, done in group]
                for group in told["answers"]
            ]
            self.looks.append((told["name"], groups))
            self.wins.append(told["wins"])

    def add(self, name: str, groups: list[list[Sample]]) -> dict[str, float]:
        """Compare these answers with those of every earlier look, and keep them."""
        if not self.looks:
            self.restore()
        wins = [self.against(groups, earlier) for _, earlier in self.looks]
        self.looks.append((name, groups))
        self.wins.append(wins)
        kept = [[(one.text, one.finished) for one in group] for group in groups]
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"name": name, "wins": wins, "answers": kept}, ensure_ascii=False) + "\n")
        if not wins:
            return {}
        return {"win/reference": wins[0], "win/previous": wins[-1], "exploitability": 0.5 - min(wins)}

    def against(self, mine: Sequence[Sequence[Sample]], theirs: Sequence[Sequence[Sample]]) -> float:
        """The mean chance that an answer of these beats the answer of those with the same number."""
        matches = [
            Match(ask, one, other)
            for ask, group, others in zip(self.asks, mine, theirs, strict=True)
            for one, other in zip(group, others, strict=True)
        ]
        chances = [0.5 if chance is None else chance for chance in self.rater(matches, counted=False)]
        return statistics.fmean(chances) if chances else 0.5

    @property
    def matrix(self) -> list[list[float]]:
        """The chance of each look against each other one, 1/2 against itself."""
        size = len(self.wins)
        table = [[0.5] * size for _ in range(size)]
        for place, wins in enumerate(self.wins):
            for other, chance in enumerate(wins):
                table[place][other], table[other][place] = chance, 1 - chance
        return table

    def exploited(self, shares: Mapping[str, float]) -> float:
        """How often the best single look beats a mixture of looks (by name), minus 1/2; less than nothing where none
        does.
        """
        table = self.matrix
        weights = [shares.get(name, 0.0) for name, _ in self.looks]
        return max(sum(w * p for w, p in zip(weights, row, strict=True)) for row in table) - 0.5

    def report(self) -> dict[str, float]:
        """Circles among the looks, and among the commonest answers to each prompt; the whole beside the artifact."""
        if not self.looks:  # an attempt that goes on after the last step looks no more
            self.restore()
        of_looks = circles_of(self.matrix)
        by_prompt, told = [], []
        for place, ask in enumerate(self.asks):
            counted = Counter(one.text for _, groups in self.looks for one in groups[place] if one.text.strip())
            texts = [text for text, _ in counted.most_common(COMMONEST)]
            if len(texts) < 3:
                continue
            first = {one.text: one for _, groups in self.looks for one in groups[place]}
            table = [[0.5] * len(texts) for _ in texts]
            pairs = [(i, j) for i in range(len(texts)) for j in range(i)]
            chances = self.rater([Match(ask, first[texts[i]], first[texts[j]]) for i, j in pairs], counted=False)
            for (i, j), chance in zip(pairs, chances, strict=True):
                table[i][j] = 0.5 if chance is None else chance
                table[j][i] = 1 - table[i][j]
            by_prompt.append(circles_of(table))
            told.append({"prompt_id": ask.prompt_id, "answers": texts, "wins": rounded(table), **by_prompt[-1]})
        names = [name for name, _ in self.looks]
        whole = {"looks": names, "wins": rounded(self.matrix), "cycles": of_looks, "prompts": told}
        (self.run.artifact_path / REPORT).write_text(json.dumps(whole, ensure_ascii=False) + "\n", encoding="utf-8")
        figures = {f"cycle/looks_{name}": value for name, value in of_looks.items()}
        for name in by_prompt[0] if by_prompt else ():
            figures[f"cycle/answers_{name}"] = statistics.fmean(one[name] for one in by_prompt)
        return figures

    def show(self, step: int) -> None:
        """The first look's answers beside the last one's, and the table of wins, for the run's page."""
        self.compare(step)
        names = [name for name, _ in self.looks]
        rows = [
            {"text": f"{name}: " + ", ".join(f"{p:.2f} against {other}" for p, other in zip(row, names, strict=True))}
            for name, row in zip(names, self.matrix, strict=True)
        ]
        if len(rows) > 1:
            self.run.sample(step, question="How often each look beats each other one", answers=rows)

    def show_answers(self, step: int, n: int = 2) -> None:
        """What the policy answers now, with how often each answer beats the reference's."""
        (_, reference), (_, now) = self.looks[0], self.looks[-1]
        for ask, mine, theirs in list(zip(self.asks, now, reference, strict=True))[:n]:
            matches = [Match(ask, one, other) for one, other in zip(mine, theirs, strict=True)]
            chances = self.rater(matches, counted=False)
            answers: list[dict[str, Any]] = [
                {"text": one.text, "chance": chance} for one, chance in zip(mine, chances, strict=True)
            ]
            self.run.sample(step, prompt_id=ask.prompt_id, question=question_of(ask), answers=answers)

    def compare(self, step: int) -> None:
        """The first look's answers beside the last one's, one to each prompt; marked by a program that knows."""
        told = BeforeAfter(None, self.truth)
        for _, groups in (self.looks[0], self.looks[-1]):
            told.saw(self.asks, [group[0] for group in groups])
        self.run.sample(step, **told.shown())


def circles_of(table: Sequence[Sequence[float]]) -> dict[str, float]:
    """`circles`, `curl` and `residual` of a table of chances."""
    import numpy as np

    from training.worlds.games import bradley_terry, circles, curl, from_chances

    matrix = from_chances(table)
    scores = bradley_terry(matrix)
    fitted = 1 / (1 + np.exp(-(scores[:, None] - scores[None, :])))
    apart = np.abs((1 + matrix) / 2 - fitted)[~np.eye(len(matrix), dtype=bool)]
    residual = float(apart.mean()) if apart.size else 0.0
    return {"circles": circles(matrix), "curl": curl(matrix), "residual": residual}


def rounded(table: Sequence[Sequence[float]]) -> list[list[float]]:
    """For a file that people read."""
    return [[round(value, 4) for value in row] for row in table]


class Looks:
    """Looks at the policy on prompts of the dev split: how it stands against what it was."""

    def __init__(self, run: RunContext, config: Config, policy: Policy, rater: Rater, *, answers: int) -> None:
        self.run, self.config, self.policy, self.step = run, config, policy, 0
        self.each = answers  # to every prompt
        self.asks = config.asks(run, policy, "dev")[: config.held_out]
        self.standings = Standings(run, self.asks, rater, truth=config.truth)
        self.truly = Rater(by_program(config.truth), config.truth) if config.truth else None
        self.last: dict[str, float] = {}
        if run.resumed is None and self.asks:
            run.metrics(0, config.steps, **self())

    def answers(self) -> list[list[Sample]]:
        """Several answers to each held-out prompt, always drawn with the same seeds."""
        config = self.config
        return draw(
            self.run,
            self.policy,
            self.asks,
            self.each,
            sampling=config.sampling,
            seed=self.run.seed,
            rows=config.decode_rows,
        )

    def __call__(self) -> dict[str, float]:
        """Compare, keep, say."""
        return self.look(f"step {self.step}")

    def look(self, name: str) -> dict[str, float]:
        """The policy as it is now, under this name."""
        if not self.asks:
            return {}
        groups = self.answers()
        lengths = [len(one.ids) for group in groups for one in group]
        surprise = -sum(sum(one.logprobs) for group in groups for one in group)
        figures = {
            "held_out_answer_tokens": sum(lengths) / len(lengths),
            "held_out_entropy": surprise / max(1, sum(lengths)),
            **self.standings.add(name, groups),
        }
        if self.truly is not None:
            reference = self.standings.looks[0][1]
            matches = [
                Match(ask, one, other)
                for ask, mine, theirs in zip(self.asks, groups, reference, strict=True)
                for one, other in zip(mine, theirs, strict=True)
            ]
            chances = [p for p in self.truly(matches) if p is not None]
            if chances:
                figures["truth/win_reference"] = sum(chances) / len(chances)
        if self.config.ship == "mixture" and self.step:
            folder = self.run.artifact_path / MIXTURE / f"step-{self.step}"
            folder.mkdir(parents=True, exist_ok=True)
            self.policy.save(folder)
        self.last = figures
        return figures
