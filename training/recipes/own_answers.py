"""The human round: answers that a policy has sampled and people have marked, read from the snapshot.

Such an answer is kept in the very tokens it was sampled in, with the sampler's log-probabilities. It is the policy's
own as long as the policy would still write it so: where its tokens' log-probabilities have moved too far, it was
sampled by another model (or with another temperature, or other passages), and nothing is learned from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training import engine
from training.recipes.answers import logprobs_of
from training.recipes.asking import Ask
from training.recipes.context import RecipeError, RunContext
from training.recipes.learning import listed
from training.recipes.marking import Marking

if TYPE_CHECKING:
    from training.engine.policy import Policy
    from training.engine.rollouts import Sample
    from training.recipes.online import Practice

Reasons = dict[str, list[str]]  # why answers were left out, and which


@dataclass(frozen=True)
class Own:
    """An answer with what people marked in it."""

    name: str
    ask: Ask
    sample: Sample
    marking: Marking


def own_answers(run: RunContext, config: Practice, policy: Policy, *, moved: float, by_severity: bool) -> list[Own]:
    """Those of the train split, in an order of chance. Raises RecipeError where there is none.

    `moved` is the largest mean over an answer's tokens of |log p now - log p when it was sampled|, nats.
    """
    found, left_out = reviewed(run, config, policy, by_severity=by_severity)
    own = []
    for one, distance in zip(found, distances(config, policy, found), strict=True):
        if distance <= moved:
            own.append(one)
        else:
            why = f"its tokens' log-probabilities have moved by more than {moved:g} on average"
            left_out.setdefault(why, []).append(one.name)
    for reason, names in left_out.items():
        run.log(f"{len(names)} marked answers are left out, {reason}: {listed(names)}.", level="warning")
    if not own:
        told = "; ".join(f"{len(names)}: {reason}" for reason, names in left_out.items())
        raise RecipeError(
            "data.empty",
            f"None of the marked answers in the train split is this policy's own ({told or 'there are none'}).",
            "Have answers of this very model marked, or choose the policy that wrote them, with the temperature and "
            "the passages that they were written with.",
        )
    run.random("human round").shuffle(own)
    run.log(f"People have marked {len(own)} of the policy's own answers.")
    return own


def reviewed(run: RunContext, config: Practice, policy: Policy, *, by_severity: bool) -> tuple[list[Own], Reasons]:
    """The reviewed answers that have tokens and log-probabilities, and the others by reason. Unmarked text of a
    reviewed answer earns 0; an answer that nobody has reviewed is not among them.
    """
    found: list[Own] = []
    left_out: Reasons = {}
    tokenizer = policy.tokenizer
    for record in run.rows("train", kind="response"):
        name, marks = str(record["response_id"]), record.get("spans") or []
        if not marks and not record.get("reviewed", True):
            continue
        ids = engine.answers.sampled_as(tokenizer, record["text"], record.get("token_ids"))
        logprobs = [float(one) for one in record.get("token_logprobs") or ()]
        if ids is None or len(logprobs) != len(ids):
            left_out.setdefault("it was not sampled here, token by token", []).append(name)
            continue
        context = record.get("context") or []
        before = engine.scoring.prompt_ids(tokenizer, record["messages"], context, passage_tokens=config.passage_tokens)
        if len(before) > config.max_prompt_tokens:
            left_out.setdefault(f"its prompt is longer than {config.max_prompt_tokens} tokens", []).append(name)
            continue
        people = {str(mark.get("author")) for mark in marks} | set(record.get("reviewers") or ())
        spans = tuple(engine.marks.of_people(marks, by_severity=by_severity))
        words = " ".join(dict.fromkeys(mark["critique"] for mark in marks if mark.get("critique")))
        ended = ids[-1] in engine.tokens.stop_ids(tokenizer)
        ask = Ask(str(record["prompt_id"]), record["messages"], context, before)
        sample = engine.rollouts.Sample(0, 0, list(ids), logprobs, record["text"], ended)
        found.append(Own(name, ask, sample, Marking(spans, words, annotators=max(1, len(people)))))
    return found, left_out


def distances(config: Practice, policy: Policy, answers: Sequence[Own]) -> list[float]:
    """Of each answer the mean over its tokens of |log p now - log p when it was sampled|, nats."""
    rows = [one.sample.row(one.name, one.ask.ids) for one in answers]
    with policy.without_dropout():
        now = logprobs_of(
            nullcontext(policy.model),
            [[row] for row in rows],
            tokens=config.budget,
            temperature=config.temperature,
            device=policy.device,
        )
    return [
        sum(abs(a - b) for a, b in zip(now[id(row)], one.sample.logprobs, strict=True)) / len(one.sample.ids)
        for row, one in zip(rows, answers, strict=True)
    ]
