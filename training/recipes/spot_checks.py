"""People's spot checks: what they said of answers in the run's records, beside what the run's judge says of the same.

An answer's worth to people is what they marked in it (each bad phrase counts by its severity), their verdict or their
rating, each kind of judgement in its own standard deviations. Answers that carry the tokens which were sampled are a
policy's own; the others were written elsewhere. Where the run goes on from a policy, the lead of the score over people
on its own answers is what the judge has been gamed by already.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from training import engine
from training.recipes.asking import ask_of
from training.recipes.context import RunContext

if TYPE_CHECKING:
    from training.engine.policy import Policy
    from training.engine.rollouts import Sample
    from training.recipes.online import Watched
    from training.recipes.rewarding import Judge

MOST = 48  # answers that the judge is asked about
FEW = 12  # answers, before anything is said


@dataclass
class Checked:
    """An answer and what people said of it."""

    row: Mapping[str, Any]
    said: list[float] = field(default_factory=list)  # in deviations of their kinds

    @property
    def own(self) -> bool:
        """Whether a policy of ours wrote it."""
        return bool(self.row.get("token_ids"))


def checked(run: RunContext) -> list[Checked]:
    """The answers of the train and dev splits that somebody judged, in the order of the records."""
    found: dict[str, Checked] = {}
    values: dict[str, list[tuple[str, float]]] = {}
    for row in run.rows():
        kind = row["kind"] if row["kind"] != "rating" else f"rating {row['dimension']}"
        worth = worth_of(row)
        if worth is not None and row["split"] != "test":
            found.setdefault(row["response_id"], Checked(row))
            values.setdefault(kind, []).append((row["response_id"], worth))
    for pairs in values.values():
        spread = engine.watch.moments([value for _, value in pairs])
        for response, value in pairs:
            if spread is not None:
                found[response].said.append((value - spread[0]) / spread[1])
    return [one for one in found.values() if one.said]


def worth_of(row: Mapping[str, Any]) -> float | None:
    """What one row says of an answer as a whole; None where it does not judge one."""
    if row["kind"] == "response" and (row.get("spans") or row.get("reviewed")):
        return float(sum(span["sentiment"] * (span.get("severity") or 1) for span in row["spans"]))
    if row["kind"] == "verdict":
        return float(row["verdict"] == "good")
    return float(row["value"]) if row["kind"] == "rating" else None


def compare(
    run: RunContext, config: Watched, policy: Policy, judge: Judge, weights: Mapping[str, float]
) -> dict[str, float]:
    """How far score and people agree, in figures and in the log; nothing where too few answers were judged."""
    everyone = checked(run)
    run.random("spot checks").shuffle(everyone)
    some = sorted(everyone, key=lambda one: not one.own)[:MOST] if "policy" in run.models else everyone[:MOST]
    if len(everyone) < FEW:
        return {}
    asks = [ask_of(policy.tokenizer, one.row, passage_tokens=config.passage_tokens) for one in some]
    raw = judge.for_measuring(asks, [sample_of(policy, one.row) for one in some]).raw
    scores = [
        sum(weights.get(name, 1.0) * values[place].item() for name, values in raw.items()) for place in range(len(some))
    ]
    pairs = [
        (one, score, statistics.fmean(one.said)) for one, score in zip(some, scores, strict=True) if score == score
    ]
    if len(pairs) < FEW:
        return {}
    agreement = rank_correlation([score for _, score, _ in pairs], [said for *_, said in pairs])
    figures = {"hack/spot_agreement": agreement}
    words = f"On {len(pairs)} answers that people judged, the score's rank correlation with people is {agreement:.2f}."
    own, others = ([(score, said) for one, score, said in pairs if one.own is which] for which in (True, False))
    if "policy" in run.models and min(len(own), len(others)) >= FEW:
        score, said = (engine.watch.moments([pair[side] for pair in others]) for side in (0, 1))
        if score and said:
            gap = statistics.fmean((a - score[0]) / score[1] - (b - said[0]) / said[1] for a, b in own)
            figures["hack/spot_gap"] = gap
            words += f" On the {len(own)} of them that a policy wrote, the score leads people by {gap:.2f} deviations."
    run.log(words, level="warning" if agreement < 0 or figures.get("hack/spot_gap", 0.0) > 1 else "info")
    return figures


def sample_of(policy: Policy, row: Mapping[str, Any]) -> Sample:
    """A stored answer as if it had been sampled."""
    ids = row.get("token_ids") or policy.tokenizer(row["text"], add_special_tokens=False)["input_ids"]
    return engine.rollouts.Sample(0, 0, list(ids), [0.0] * len(ids), row["text"], finished=True)


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's, equals sharing their mean rank; 0 where one does not vary."""
    first, second = ranks(a), ranks(b)
    if len(set(first)) < 2 or len(set(second)) < 2:
        return 0.0
    return statistics.correlation(first, second)


def ranks(values: Sequence[float]) -> list[float]:
    """Of each value, from 0."""
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) - 1) / 2 for value in values
    ]
