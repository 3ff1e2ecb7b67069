"""What simulated people say of answers, as the rows of a snapshot (`training.snapshots`): the form that recipes read.

Works for every world: a person is asked for what each kind of row needs, and sees the prompt and the texts alone.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .people import Annotator, Mark, perfect

KINDS = (
    "response",
    "preference",
    "ranking",
    "choice",
    "rating",
    "verdict",
    "reaction",
    "rewrite",
    "demonstration",
    "prompt",
)
USABLE = 0.2  # below this an answer is not chosen even as the best of several
STEPS = 5  # how finely people rank: answers as good as each other share a place


def rows(
    world: Any,
    prompts: Sequence[Any],
    texts: Sequence[str] | Sequence[Sequence[str]],
    *,
    people: Mapping[str, Annotator] | Sequence[Annotator] | Annotator | None = None,
    seed: int = 0,
    kinds: Sequence[str] = ("response", "preference"),
) -> Iterator[dict[str, Any]]:
    """Rows about these answers: `texts[i]` is one answer to `prompts[i]`, or several. Each row is one person's work,
    drawn by chance; without people a perfect reader does it all. A preference compares the first two answers, a ranking
    and a choice are among all. Raises ValueError for a kind that there is not.
    """
    if strange := sorted(set(kinds) - set(KINDS)):
        raise ValueError(f"There are no rows of the kind {', '.join(strange)}; there are {', '.join(KINDS)}.")
    everybody = _as_list(people) or [perfect(world)]
    chance = random.Random(f"rows {seed}")
    for number, (prompt, given) in enumerate(zip(prompts, texts, strict=True)):
        answers = [given] if isinstance(given, str) else list(given)
        about = _About(world, prompt, answers, f"{number}", chance)
        for kind in kinds:
            yield from _MAKERS[kind](about, chance.choice(everybody))


def labels_of(world: Any) -> list[dict[str, Any]]:
    """The world's labels as a snapshot's manifest lists them."""
    signed = [(kind, -1) for kind in world.manners.kinds] + [(label, 1) for label in world.manners.good_labels]
    return [{"id": key, "key": key, "name": key.replace("_", " "), "sentiment": sign} for key, sign in signed]


def span_of(mark: Mark, record: str, author: str) -> dict[str, Any]:
    """A mark as a row holds it."""
    return {
        "id": record,
        "start": mark.start,
        "end": mark.end,
        "quote": mark.quote,
        "sentiment": mark.sentiment,
        "severity": mark.severity,
        "label": mark.label,
        "critique": mark.critique,
        "replacement": mark.replacement,
        "author": author,
        "origin": "program",
    }


def _as_list(people: Any) -> list[Annotator]:
    if people is None:
        return []
    if isinstance(people, Annotator):
        return [people]
    return list(people.values() if isinstance(people, Mapping) else people)


class _About:
    """One prompt and its answers."""

    def __init__(self, world: Any, prompt: Any, texts: list[str], number: str, chance: random.Random) -> None:
        self.world, self.prompt, self.texts, self.number, self.chance = world, prompt, texts, number, chance
        self.answers = [
            {"response_id": f"{prompt.id}:{number}:{place}", "text": text} for place, text in enumerate(texts)
        ]

    def row(self, kind: str, place: int | str = 0, person: Annotator | None = None, **fields: Any) -> dict[str, Any]:
        said = {"author": person.name, "origin": "program"} if person else {}
        return {
            "split": self.prompt.split,
            "kind": kind,
            "prompt_id": self.prompt.id,
            "messages": [dict(message) for message in self.prompt.messages],
            "context": [dict(passage) for passage in self.prompt.context],
            "records": [f"{kind} of {self.prompt.id}:{self.number}:{place}"],
            **said,
            **fields,
        }

    def felt(self, person: Annotator) -> list[float]:
        """The person's verdict on each answer."""
        return [person.verdict(self.prompt, text, self.chance)[0] for text in self.texts]


Maker = Callable[[_About, Annotator], Iterator[dict[str, Any]]]


def _response(about: _About, person: Annotator) -> Iterator[dict[str, Any]]:
    for place, (answer, text) in enumerate(zip(about.answers, about.texts, strict=True)):
        marks = person.mark(about.prompt, text, about.chance)
        spans = [span_of(mark, f"{answer['response_id']}:{at}", person.name) for at, mark in enumerate(marks)]
        yield {
            **about.row("response", place),
            **answer,
            "spans": spans,
            "records": [span["id"] for span in spans],
            "reviewed": True,
            "reviewers": [person.name],
            "assignments": [f"{person.name} of {answer['response_id']}"],
        }


def _preference(about: _About, person: Annotator) -> Iterator[dict[str, Any]]:
    if len(about.texts) < 2:
        return
    found = person.compare(about.prompt, about.texts[0], about.texts[1], about.chance)
    fields = {"choice": found.choice, "strength": max(1, found.strength), "reason": found.reason, "dimension": ""}
    yield about.row("preference", 0, person, a=about.answers[0], b=about.answers[1], **fields)


def _ranking(about: _About, person: Annotator) -> Iterator[dict[str, Any]]:
    felt = [round(STEPS * value) for value in about.felt(person)]
    steps = sorted(set(felt), reverse=True)
    placed = [{**one, "place": 1 + steps.index(value)} for one, value in zip(about.answers, felt, strict=True)]
    yield about.row("ranking", 0, person, answers=sorted(placed, key=lambda one: one["place"]), dimension="", reason="")


def _choice(about: _About, person: Annotator) -> Iterator[dict[str, Any]]:
    felt = about.felt(person)
    best = max(range(len(felt)), key=felt.__getitem__)
    chosen = about.answers[best]["response_id"] if felt[best] > USABLE else None
    yield about.row("choice", 0, person, answers=about.answers, chosen=chosen, reason="")


def _rating(about: _About, person: Annotator) -> Iterator[dict[str, Any]]:
    for place, (answer, value) in enumerate(zip(about.answers, about.felt(person), strict=True)):
        yield {**about.row("rating", place, person, dimension="quality", value=value), **answer}


def _verdict(about: _About, person: Annotator) -> Iterator[dict[str, Any]]:
    for place, (answer, text) in enumerate(zip(about.answers, about.texts, strict=True)):
        value, words = person.critique(about.prompt, text, about.chance)
        yield {
            **about.row("verdict", place, person, verdict="good" if value >= 0.5 else "bad", words=words),
            **answer,
        }


def _reaction(about: _About, person: Annotator) -> Iterator[dict[str, Any]]:
    for place, (answer, text) in enumerate(zip(about.answers, about.texts, strict=True)):
        tapped = person.tap(about.prompt, text, about.chance)
        keys = ["shown", tapped] if tapped else ["shown"]
        fields = {"polarity": 1 if tapped == "like" else -1, "silent": not tapped, "reactions": keys}
        yield {**about.row("reaction", place, **fields), **answer}


def _rewrite(about: _About, person: Annotator) -> Iterator[dict[str, Any]]:
    better = person.rewrite(about.prompt, about.texts[0], about.chance)
    if better != about.texts[0]:
        made = {"response_id": f"{about.answers[0]['response_id']}:better", "text": better}
        yield {**about.row("rewrite", 0, person, better=made), **about.answers[0]}


def _demonstration(about: _About, person: Annotator) -> Iterator[dict[str, Any]]:
    text = about.world.clean_answer(about.prompt, about.chance).text
    made = {"response_id": f"{about.prompt.id}:{about.number}:by hand", "text": text}
    yield {**about.row("demonstration"), "records": [], **made}


def _prompt(about: _About, person: Annotator) -> Iterator[dict[str, Any]]:
    yield {**about.row("prompt"), "records": []}


_MAKERS: dict[str, Maker] = {
    "response": _response,
    "preference": _preference,
    "ranking": _ranking,
    "choice": _choice,
    "rating": _rating,
    "verdict": _verdict,
    "reaction": _reaction,
    "rewrite": _rewrite,
    "demonstration": _demonstration,
    "prompt": _prompt,
}
