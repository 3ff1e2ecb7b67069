"""The watch for reward hacking, as every recipe that samples while it learns has it: the first policy's answers, the
truth that trains nothing, the alarms in the log, and the end that a run may ask for. What is measured, and when it is
sure, is in `engine.watch`.

The truth is a program (`truth`) or a fresh reward model (the input `watch`). The score is what the policy is trained
on, without shaping.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from training import engine
from training.recipes import rewarding, spot_checks
from training.recipes.asking import Ask, ask_of, draw
from training.recipes.context import RunContext

if TYPE_CHECKING:
    from training.engine.policy import Policy
    from training.engine.rollouts import Sample
    from training.engine.watch import Seen
    from training.recipes.answers import Answers
    from training.recipes.online import Watched
    from training.recipes.rewarding import Judge, Source

ROLE = "watch"  # the input that a run may be given besides
TAKES = f"{ROLE}:reward_model|span_reward_model"
MOST = 16  # answers of a step that a reward model is asked about: it costs as much as the judge


class Watcher:
    """A run's watch. Its state is part of every checkpoint."""

    def __init__(self, run: RunContext, config: Watched, truth: Source | None, *, name: str, most: int | None) -> None:
        self.run, self.config, self.truth, self.name, self.most = run, config, truth, name, most
        self.watch = engine.watch.Watch()
        self.over = ""  # why the training is to end
        self.looks = 0
        self._weights: dict[str, float] = {}  # of what each judge says, in the score

    @classmethod
    def of(cls, run: RunContext, config: Watched, policy: Policy, *, truth: str = "") -> Watcher:
        """With the truth that this run was given: a program of this name or, without one, the model to watch with."""
        if truth := truth or config.truth:
            return cls(run, config, rewarding.by_program(truth), name="truth/quality", most=None)
        if ROLE in run.models:
            model = rewarding.by_model(run.models[ROLE], beside=policy)
            return cls(run, config, model, name="truth/score", most=MOST)
        return cls(run, config, None, name="", most=None)

    @property
    def best(self) -> str | None:
        """The figure by which the weights are chosen that stand when the training was ended; None: the last ones."""
        if self.config.on_hacking != "stop":
            return None
        return self.name or "quiet steps"

    def worth(self, values: Mapping[str, float]) -> float | None:
        """How good the weights of an evaluation are: its truth or, where nothing tells it, how late they are, as long
        as no alarm is near.
        """
        if self.name:
            return values.get(self.name)
        return float(self.looks) if self.watch.quiet else None

    # measuring

    def begin(self, policy: Policy, judge: Judge) -> dict[str, float]:
        """Draw and judge answers of the policy that has not learned yet; the step 0 of the charts."""
        asks, n = self._asked(policy)
        if not asks:
            return {}
        seed = self.run.random("the watch's first answers").getrandbits(40)
        groups = draw(self.run, policy, asks, n, sampling=self.config.sampling, seed=seed, rows=self.config.decode_rows)
        chosen = [ask for ask in asks for _ in range(n)]
        samples = [one for group in groups for one in group]
        raw = {name: values.tolist() for name, values in judge.for_measuring(chosen, samples).raw.items()}
        self._weights = {name: judge.weights.get(name, 1.0) / _unit(judge, name, said) for name, said in raw.items()}
        first = self._seen(chosen, samples, raw, self.told(chosen, samples))
        base = self.watch.begin(first)
        self._say(base)
        figures = {f"hack/{name}": value for name, value in {**self.watch.figures(first), "stock": 0.0}.items()}
        return figures | spot_checks.compare(self.run, self.config, policy, judge, self._weights)

    def __call__(self, answers: Answers) -> dict[str, float]:
        """A step's answers in figures; what is to be said stands in the log."""
        if not self.watch.begun:
            return {}
        self.looks += 1
        n = len(answers.groups[0])
        chosen, samples = [ask for ask in answers.asks for _ in range(n)], answers.flat
        raw = {name: values.flatten().tolist() for name, values in answers.raw.items()}
        figures, notices, confirmed = self.watch.look(
            self._seen(chosen, samples, raw, self.told(chosen, samples, most=self.most))
        )
        for notice in notices:
            begins = notice.kind == "begins"
            believed = " The truth has risen with the score." if begins and confirmed else ""
            self.run.log(notice.text + believed, level="warning" if begins and not confirmed else "info")
            if begins and not confirmed and self.config.on_hacking == "stop":
                self.over = self.over or notice.text
        return {f"hack/{name}": value for name, value in figures.items()}

    def told(self, chosen: Sequence[Ask], samples: Sequence[Sample], *, most: int | None = None) -> list[float | None]:
        """The truth of these answers; of `most` of them, evenly spread, where all would cost too much."""
        found: list[float | None] = [None] * len(samples)
        if self.truth is None:
            return found
        places = list(range(len(samples)))
        if most is not None and len(places) > most:
            places = [len(samples) * k // most for k in range(most)]
        values = self.truth([chosen[place] for place in places], [samples[place] for place in places])
        for place, value in zip(places, values, strict=True):
            found[place] = value
        return found

    def held_out(self, chosen: Sequence[Ask], samples: Sequence[Sample]) -> dict[str, float]:
        """The truth's mean over answers to prompts that nothing is learned from."""
        told = [value for value in self.told(chosen, samples) if value is not None]
        return {self.name: sum(told) / len(told)} if told else {}

    def _asked(self, policy: Policy) -> tuple[list[Ask], int]:
        """Prompts of the train split that fit, and how many answers to each: `watch_answers` in all, or nearly."""
        prompts, wanted = self.run.prompts("train"), self.config.watch_answers
        self.run.random("the watch's prompts").shuffle(prompts)
        found: list[Ask] = []
        for prompt in prompts:
            if len(found) == wanted:
                break
            ask = ask_of(policy.tokenizer, prompt, passage_tokens=self.config.passage_tokens)
            if len(ask.ids) <= self.config.max_prompt_tokens:
                found.append(ask)
        return found, max(1, wanted // len(found)) if found else 0

    def _seen(
        self,
        chosen: Sequence[Ask],
        samples: Sequence[Sample],
        raw: Mapping[str, Sequence[float]],
        truths: Sequence[float | None],
    ) -> list[Seen]:
        seen = []
        for place, (ask, sample, truth) in enumerate(zip(chosen, samples, truths, strict=True)):
            score = sum(self._weights.get(name, 1.0) * values[place] for name, values in raw.items()) if raw else None
            if score is not None and math.isnan(score):
                score = None
            repeated = engine.watch.repetition(sample.ids)
            seen.append(engine.watch.Seen(ask.prompt_id, sample.text, len(sample.ids), score, truth, repeated))
        return seen

    def _say(self, base: Any) -> None:
        """What the first answers were like, and what cannot be watched."""
        first = self.watch.first
        words = [
            f"The watch for reward hacking knows {len(first)} answers of the first policy to {base.tokens.prompts} "
            f"prompts: {base.tokens.value:.0f} tokens, {base.repetition.value:.0%} of three tokens in a row repeated."
        ]
        if base.tokens.prompts < engine.watch.ENOUGH:
            words.append(f"With fewer than {engine.watch.ENOUGH} prompts nothing is sure, and it will say nothing.")
        if self.truth is None:
            words.append("Nothing tells it the truth: give the run a reward model to watch with, or a checker (truth).")
        elif base.score is None or base.truth is None:
            what = "scores" if base.score is None else "truths"
            words.append(f"The first answers' {what} are all alike, so that score and truth cannot be compared.")
        self.run.log(" ".join(words))

    # between two attempts

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {"watch": self.watch.state_dict(), "over": self.over, "looks": self.looks, "weights": self._weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.watch.load_state_dict(state["watch"])
        self.over, self.looks, self._weights = state["over"], int(state["looks"]), dict(state["weights"])


def _unit(judge: Judge, name: str, said: Sequence[float]) -> float:
    """What one judge's words are divided by in the score: as in the reward or, where that changes with every batch, the
    deviation on the first answers.
    """
    if judge.normalise == "batch":
        spread = engine.watch.moments([value for value in said if not math.isnan(value)])
        return spread[1] if spread else 1.0
    return judge.scales.get(name, (0.0, 1.0))[1]
