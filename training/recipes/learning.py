"""What the recipes that learn from stored records have in common: answers as rows, a sieve that counts and names what
is left out, and whether people spoke for an answer or against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from training import engine
from training.recipes import asking
from training.recipes.context import RecipeError, RunContext

if TYPE_CHECKING:
    from training.engine.packs import Row
    from training.engine.policy import Policy

NAMED = 20  # records that a line of the log names, at most
Record = Mapping[str, Any]


@dataclass
class Sieve:
    """Makes rows of records, and keeps account of those that cannot be learned from, by reason."""

    tokenizer: Any
    longest: int  # tokens of prompt and answer
    passage_tokens: int
    whole: bool = False  # leave out answers that were cut off: their end teaches nothing
    seen: int = 0
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def rows(self, name: str, record: Record, answers: Mapping[str, Record], **of_row: float) -> list[Row] | None:
        """One row for each answer to the record's prompt, in their order; None where one of them cannot be used.

        `answers` are named by what they are ("chosen"). They must answer one prompt: raises RecipeError naming the
        record where they do not.
        """
        self.seen += 1
        rows = []
        for what, answer in answers.items():
            try:
                row = self._row(f"{name} {what}".strip(), record, answer, of_row)
            except engine.tokens.TemplateRefused as refusal:
                return self._leave_out(str(refusal).rstrip("."), name)
            if not answer["text"].strip():
                return self._leave_out("an answer is empty", name)
            if len(row.ids) > self.longest:
                return self._leave_out(f"longer than {self.longest} tokens", f"{name} ({len(row.ids)})")
            if self.whole and row.ids[-1] not in engine.tokens.stop_ids(self.tokenizer):
                return self._leave_out("cut off before its end", name)
            rows.append(row)
        if any(engine.answers.prompt_of(row) != engine.answers.prompt_of(rows[0]) for row in rows[1:]):
            raise RecipeError(
                "data.prompts_differ",
                f"The answers of {name} do not answer the same prompt, so they cannot be compared.",
                "Remove the record, or import it again with one prompt, and make a new snapshot.",
            )
        return rows

    def _row(self, name: str, record: Record, answer: Record, of_row: Mapping[str, float]) -> Row:
        return engine.answers.answer_row(
            self.tokenizer,
            name,
            answer.get("messages", record["messages"]),
            answer.get("context", record.get("context") or []),
            text=answer["text"],
            ids=engine.answers.sampled_as(self.tokenizer, answer["text"], answer.get("token_ids")),
            passage_tokens=self.passage_tokens,
            of_row=of_row,
        )

    def _leave_out(self, reason: str, name: str) -> None:
        self.left_out.setdefault(reason, []).append(name)

    def report(self, run: RunContext, what: str, *, most: float | None = None) -> None:
        """Say in the log what was left out; raise RecipeError where that is a larger share than `most`."""
        lost = sum(len(names) for names in self.left_out.values())
        for reason, names in self.left_out.items():
            run.log(f"{len(names)} {what} left out, {reason}: {listed(names)}.", level="warning")
        if most is not None and lost > most * self.seen:
            raise RecipeError(
                "data.too_long",
                f"{lost} of {self.seen} {what} cannot be learned from: {'; '.join(self.left_out)}.",
                "Raise max_tokens, lower passage_tokens, or allow a larger max_left_out.",
            )


def listed(names: Sequence[str]) -> str:
    """The names for a line of the log, the first twenty."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def name_of(record: Record) -> str:
    """A record as messages name it: by what it is and the first of the records it came from."""
    said = [*(record.get("records") or []), record.get("response_id"), record["prompt_id"]]
    return f"{record['kind']} {next(one for one in said if one)}"


def need_something(found: Sequence[Any], what: str, action: str) -> None:
    """Raise RecipeError where there is nothing to learn from."""
    if not found:
        raise RecipeError("data.empty", f"There are no {what} in the train split to learn from.", action)


@dataclass
class Voted:
    """An answer with what people said for it and against it."""

    record: Record
    good: int = 0
    bad: int = 0
    silent: int = 0  # shown, and no tap

    @property
    def verdict(self) -> int:
        """1 liked, -1 disliked, 0 undecided; silence counts neither way."""
        return (self.good > self.bad) - (self.good < self.bad)


def votes(
    records: Iterable[Record],
    *,
    reactions: bool = True,
    verdicts: bool = True,
    reviews: bool = False,
    good_rating: float | None = None,
    dimension: str = "",
) -> list[Voted]:
    """Every answer that somebody judged alone, once, in the order of the records, with its votes.

    A reaction, a verdict, a rating (of `dimension`, or of any) and a review are one vote each: a rating is good from
    `good_rating` up and says nothing where that is None; a review is good where no phrase was marked bad.
    """
    found: dict[str, Voted] = {}

    def vote(record: Record, good: bool) -> None:
        voted = found.setdefault(record["response_id"], Voted(record))
        if record.get("silent"):
            voted.silent += 1
        else:
            voted.good += good
            voted.bad += not good

    says: dict[str, Callable[[Record], bool | None]] = {
        "reaction": lambda record: record["polarity"] > 0 if reactions else None,
        "verdict": lambda record: record["verdict"] == "good" if verdicts else None,
        "rating": lambda record: (
            record["value"] >= good_rating
            if good_rating is not None and dimension in ("", record["dimension"])
            else None
        ),
        "response": lambda record: (
            not any(span["sentiment"] < 0 for span in record["spans"])
            if reviews and (record.get("reviewed") or record["spans"])
            else None
        ),
    }
    for record in records:
        if record["kind"] in says and (good := says[record["kind"]](record)) is not None:
            vote(record, good)
    return list(found.values())


def new_answers(
    run: RunContext,
    policy: Policy,
    count: int,
    *,
    longest: int,
    passage_tokens: int,
    max_new_tokens: int,
    temperature: float,
) -> None:
    """New answers of the final policy, to prompts of every split, on their way back to the people."""
    if not count:
        return
    everyone = asking.asks(run, policy.tokenizer, None, passage_tokens=passage_tokens, longest=longest)
    policy.model.eval()
    asking.give_back(
        run,
        policy,
        everyone[:count],
        sampling=engine.rollouts.Sampling(max_tokens=max_new_tokens, temperature=temperature),
        seed=run.seed * 1000 + 999,
        rows=64,
        passage_tokens=passage_tokens,
    )


def policy_card(run: RunContext, *, passage_tokens: int, metrics: Mapping[str, float]) -> dict[str, Any]:
    """What `redpen.json` says of a policy."""
    return {
        "kind": "policy",
        "base": str(run.base_model),
        "prompt": {"passage_tokens": passage_tokens},
        "parent": str(run.models["policy"]) if "policy" in run.models else None,
        "metrics": dict(metrics),
    }
