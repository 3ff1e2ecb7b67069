"""Judgements on whole answers: words, pairs, numbers, better versions, reports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from django.db import transaction

from annotation import text as texts
from annotation.actions import records
from annotation.actions.once import create_once, stored_under
from annotation.actions.people import Author
from annotation.actions.prompts import add_response
from annotation.errors import AssignmentClosed, BadValue
from annotation.models import (
    Act,
    Assignment,
    Critique,
    FeedbackRecord,
    Outcome,
    Preference,
    Ranking,
    Rating,
    Report,
    Response,
    Rewrite,
    Task,
)
from annotation.models import Choice as ChoiceRecord
from annotation.models.judgements import Verdict

CHOICES = tuple(Preference.Choice.values)
WHOSE = ("author_id", "agent")


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The outcome of a comparison. `choice` is a, b, tie or neither; on the pair page left or right for a or b."""

    choice: str
    strength: int = 2
    reason: str = ""
    dimension: str = ""


def shown_first(task: Task) -> str:
    """Which answer of a pair stands on the left: by the task's stored seed."""
    return "b" if task.shuffle_seed % 2 else "a"


def by_name(task: Task, choice: str) -> str:
    """left and right as a and b."""
    left = shown_first(task)
    return {"left": left, "right": "a" if left == "b" else "b"}.get(choice, choice)


def by_side(task: Task, choice: str) -> str:
    """a and b as left and right."""
    return choice if choice not in ("a", "b") else "left" if choice == shown_first(task) else "right"


def check_compared(compared: Compared) -> None:
    if compared.choice not in CHOICES:
        raise BadValue("/choice", f"The choice is one of {', '.join(CHOICES)}, not '{texts.check(compared.choice)}'.")
    if not 1 <= compared.strength <= 3:
        raise BadValue(
            "/strength", f"Strength is 1 (slightly), 2 (clearly) or 3 (far better), not {compared.strength}."
        )
    texts.check(compared.reason, "/reason")
    texts.check(compared.dimension, "/dimension")


def check_pair(a: Response, b: Response) -> None:
    if a.pk == b.pk:
        raise BadValue("/b", "A comparison needs two different answers.")
    if a.prompt_id != b.prompt_id:
        raise BadValue("/b", "Only answers to the same prompt can be compared.")


@transaction.atomic
def prefer(
    *,
    author: Author,
    a: Response,
    b: Response,
    compared: Compared,
    shown_first: str = "",
    assignment: Assignment | None = None,
    client_key: str | None = None,
    **about: Any,
) -> tuple[Preference, bool]:
    """Record which of two answers to one prompt `author` finds better. False: this key brought the same before."""
    check_compared(compared)
    check_pair(a, b)
    row = Preference(
        project_id=a.project_id,
        prompt_id=a.prompt_id,
        response_a=a,
        response_b=b,
        shown_first=shown_first,
        client_key=client_key,
        **asdict(compared),
        **records.asked(author=author, assignment=assignment, response=a),
        **author.fields(),
        **about,
    )
    if stored_under(Preference, project_id=row.project_id, client_key=client_key) is None:
        records.check_open(assignment)
    compare = ("response_a_id", "response_b_id", *asdict(compared), *WHOSE)
    return audited(row, "preference.stated", author=author, project=a.project, compare=compare)


def check_verdict(verdict: str, text: str) -> None:
    if verdict not in ("", *Verdict.values):
        raise BadValue("/verdict", f"The verdict is good, bad or empty, not '{texts.check(verdict)}'.")
    texts.check(text, "/words")


@transaction.atomic
def critique(
    *,
    author: Author,
    response: Response,
    text: str = "",
    verdict: str = "",
    assignment: Assignment | None = None,
    **about: Any,
) -> tuple[Critique, bool]:
    """Words on the whole answer, a verdict, or both."""
    check_verdict(verdict, text)
    if not text and not verdict:
        raise BadValue("/text", "A critique needs words or a verdict.")
    row = on_response(Critique, author, response, assignment, text=text, verdict=verdict, **about)
    compare = ("response_id", "text", "verdict", *WHOSE)
    return audited(row, "critique.given", author=author, project=response.project, compare=compare)


@transaction.atomic
def rate(
    *,
    author: Author,
    response: Response,
    dimension: str,
    value: float,
    assignment: Assignment | None = None,
    **about: Any,
) -> tuple[Rating, bool]:
    """A number on a dimension."""
    if not dimension or len(dimension) > 60:
        raise BadValue("/dimension", "Name what the number is about, in at most 60 characters.")
    if not float("-inf") < value < float("inf"):
        raise BadValue("/value", "A rating is a finite number.")
    row = on_response(Rating, author, response, assignment, dimension=texts.check(dimension), value=value, **about)
    compare = ("response_id", "dimension", "value", *WHOSE)
    return audited(row, "rating.given", author=author, project=response.project, compare=compare)


@transaction.atomic
def rewrite(
    *,
    author: Author,
    response: Response,
    text: str,
    assignment: Assignment | None = None,
    client_key: str | None = None,
    **about: Any,
) -> tuple[Rewrite, bool]:
    """How the answer should have read. The better text becomes a Response of its own, joined by an act."""
    if text == response.text:
        raise BadValue("/text", "The better answer is the same as the one that it should replace.")
    if stored := stored_under(Rewrite, project_id=response.project_id, client_key=client_key):
        candidate = Rewrite(
            project_id=response.project_id, response=response, better=stored.better, client_key=client_key
        )
        if stored.better.text == text and stored.response_id == response.pk and author.wrote(stored):
            return stored, False
        candidate.better = response  # differs for certain: refused by name
        return create_once(candidate, compare=("response_id", "better_id", *WHOSE))
    better, _ = add_response(
        author=author, prompt=response.prompt, text=text, origin=author.origin, parent=response, audited=False
    )
    act = Act.objects.create(project_id=response.project_id, kind="rewrite", author=author.user, agent=author.agent)
    row = on_response(Rewrite, author, response, assignment, better=better, act=act, client_key=client_key, **about)
    return audited(
        row, "rewrite.given", author=author, project=response.project, compare=("response_id", "better_id", *WHOSE)
    )


@transaction.atomic
def rank(*, author: Author, responses: Iterable[Iterable[Response]], **about: Any) -> tuple[Ranking, bool]:
    """Answers to one prompt in order, the best place first; answers that share a place are tied."""
    places = [list(place) for place in responses]
    flat = [one for place in places for one in place]
    if len(flat) < 2 or len({one.pk for one in flat}) != len(flat) or len({one.prompt_id for one in flat}) != 1:
        raise BadValue("/places", "A ranking needs two or more different answers to one prompt.")
    row = Ranking(
        project_id=flat[0].project_id,
        prompt_id=flat[0].prompt_id,
        places=[[str(one.pk) for one in place] for place in places],
        **author.fields(),
        **about,
    )
    return audited(
        row, "ranking.given", author=author, project=flat[0].project, compare=("prompt_id", "places", *WHOSE)
    )


@transaction.atomic
def choose(
    *, author: Author, offered: Iterable[Response], chosen: Response | None, reason: str = "", **about: Any
) -> tuple[ChoiceRecord, bool]:
    """One answer picked out of several, or none of them."""
    offered = list(offered)
    if len(offered) < 2 or len({one.prompt_id for one in offered}) != 1:
        raise BadValue("/offered", "A choice needs two or more answers to one prompt.")
    if chosen is not None and chosen.pk not in {one.pk for one in offered}:
        raise BadValue("/chosen", "The chosen answer is not one of those offered.")
    row = ChoiceRecord(
        project_id=offered[0].project_id,
        prompt_id=offered[0].prompt_id,
        response=chosen,
        offered=[str(one.pk) for one in offered],
        reason=texts.check(reason, "/reason"),
        **author.fields(),
        **about,
    )
    return audited(
        row, "choice.made", author=author, project=offered[0].project, compare=("response_id", "offered", *WHOSE)
    )


@transaction.atomic
def tell_outcome(
    *,
    author: Author,
    response: Response,
    stage: str,
    action: str = "",
    result: str = "",
    value: float | None = None,
    **about: Any,
) -> tuple[Outcome, bool]:
    """What happened after the answer: told at once, or judged in hindsight."""
    if stage not in Outcome.Stage.values:
        raise BadValue("/stage", f"The stage is one of {', '.join(Outcome.Stage.values)}.")
    texts.check(action, "/action")
    texts.check(result, "/result")
    row = on_response(Outcome, author, response, None, action=action, result=result, value=value, stage=stage, **about)
    compare = ("response_id", "action", "result", "value", "stage", *WHOSE)
    return audited(row, "outcome.told", author=author, project=response.project, compare=compare)


@transaction.atomic
def report(
    *,
    author: Author,
    response: Response,
    reason: str,
    text: str = "",
    assignment: Assignment | None = None,
    **about: Any,
) -> tuple[Report, bool]:
    """Something about the answer that an admin must see."""
    if not reason or len(reason) > 60:
        raise BadValue("/reason", "Say what is wrong, in at most 60 characters; the rest goes into `text`.")
    texts.check(reason, "/reason")
    row = on_response(Report, author, response, assignment, reason=reason, text=texts.check(text, "/text"), **about)
    compare = ("response_id", "reason", "text", *WHOSE)
    return audited(row, "report.made", author=author, project=response.project, compare=compare)


@transaction.atomic
def retract(*, author: Author, row: FeedbackRecord) -> FeedbackRecord:
    """Take back any kind of record; it stays readable."""
    return records.retract(author=author, row=row, action=f"{row._meta.model_name}.retracted")


def on_response(
    model: type[Any], author: Author, response: Response, assignment: Assignment | None, **fields: Any
) -> Any:
    return model(
        project_id=response.project_id,
        response=response,
        **records.asked(author=author, assignment=assignment, response=response),
        **author.fields(),
        **fields,
    )


def audited(row: Any, action: str, *, author: Author, project: Any, compare: Iterable[str]) -> tuple[Any, bool]:
    """Insert once, with one line in the audit trail."""
    stored, is_new = create_once(row, compare=compare)
    if is_new:
        author.audit(action, project=project, subject=stored)
    return stored, is_new


def settle_critique(
    *, author: Author, task: Task, assignment: Assignment, verdict: str, words: str, again: bool
) -> None:
    """The words that a submit brings: new, a new version of the ones before a reopening, or taken back."""
    check_verdict(verdict, words)
    live = Critique.objects.filter(assignment=assignment, ended_at=None).first()
    if live is not None and (live.verdict, live.text) == (verdict, words) or live is None and not (verdict or words):
        return
    refuse_other(again)
    if live is None:
        critique(author=author, response=task.response, text=words, verdict=verdict, assignment=assignment)
        return
    if verdict or words:
        replace(author=author, live=live, action="critique.amended", verdict=verdict, text=words)
    else:
        records.retract(author=author, row=live, action="critique.retracted")


def settle_preference(
    *, author: Author, task: Task, assignment: Assignment, compared: Compared | None, again: bool
) -> None:
    """The choice that a submit brings. One given before (by `prefer`, or before a reopening) is enough, or replaced."""
    live = Preference.objects.filter(assignment=assignment, ended_at=None).first()
    if compared is None:
        if live is None:
            raise BadValue(
                "/preference", "Choose first: left, right, tie or neither.", code="assignment.nothing_chosen"
            )
        return
    named = {**asdict(compared), "choice": by_name(task, compared.choice)}
    check_compared(Compared(**named))
    if live is not None and all(getattr(live, name) == value for name, value in named.items()):
        return
    refuse_other(again)
    if live is None:
        prefer(
            author=author,
            a=task.response,
            b=task.other,
            compared=Compared(**named),
            shown_first=shown_first(task),
            assignment=assignment,
        )
    else:
        replace(author=author, live=live, action="preference.amended", **named)


def refuse_other(again: bool) -> None:
    if again:
        raise AssignmentClosed("You have submitted this with another answer. Reopen it to change that.")


def replace(*, author: Author, live: FeedbackRecord, action: str, **changes: Any) -> FeedbackRecord:
    """A new version of `live` with `changes`. Inside a transaction."""
    before = records.lock_live(type(live), live.lineage, project_id=live.project_id)
    records.check_author(author, before)
    after = records.next_version(before, **changes)
    records.end(before, by=author.user, reason="superseded")
    after.save(force_insert=True)
    author.audit(action, project=before.project, subject=after, version=after.version)
    return after
