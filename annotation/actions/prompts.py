"""Prompts and responses come in here: one by one, or in bulk by the same rules."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError, transaction

from annotation import text as texts
from annotation.actions.people import Author
from annotation.actions.reactions import join_waiting
from annotation.errors import BadValue, OtherContent
from annotation.models import Origin, Prompt, Response
from annotation.models.prompts import Split
from redpen.accounts.constraints import constraint_of
from redpen.accounts.models import Project

ROLES = ("system", "user", "assistant", "tool")
TRAIN_SHARE, DEV_SHARE = 0.8, 0.1


@dataclass(frozen=True, kw_only=True)
class NewPrompt:
    messages: Sequence[Mapping[str, Any]]
    context: Sequence[Mapping[str, Any]] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    external_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class NewResponse:
    prompt: Prompt
    text: str
    origin: str = Origin.MODEL
    model: str = ""
    external_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)  # thinking, steps, sampling, token_ids, parent, ...


def canonical(value: Any) -> bytes:
    """One spelling of a JSON value, for hashes."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def content_hash(messages: Any, context: Any, *, test: bool = False) -> str:
    """A prompt's identity in its project. What test keys send has prompts of its own."""
    identity = {"messages": messages, "context": context} | ({"test": True} if test else {})
    return hashlib.sha256(canonical(identity)).hexdigest()


def split_of(*, messages: Sequence[Mapping[str, Any]], context: Any, seed: int) -> str:
    """train, dev or test: by the first user message and the context, so that a conversation's turns fall together."""
    opening = next((message["content"] for message in messages if message["role"] == "user"), "")
    digest = hashlib.sha256(canonical({"seed": seed, "opening": opening, "context": context})).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < TRAIN_SHARE:
        return Split.TRAIN
    return Split.DEV if place < TRAIN_SHARE + DEV_SHARE else Split.TEST


def check_messages(messages: Any) -> list[dict[str, Any]]:
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise BadValue("/messages", "A prompt has at least one message.")
    for index, message in enumerate(messages):
        where = f"/messages/{index}"
        if not isinstance(message, Mapping) or message.get("role") not in ROLES:
            raise BadValue(f"{where}/role", f"A message's role is one of {', '.join(ROLES)}.")
        if not isinstance(message.get("content", ""), str):
            raise BadValue(f"{where}/content", "A message's content is text.")
    texts.check_json(messages, "/messages")
    return [{"content": "", **message} for message in messages]


def check_context(context: Any) -> list[dict[str, Any]]:
    if not isinstance(context, Sequence) or isinstance(context, str):
        raise BadValue("/context", "The context is a list of passages.")
    passages, seen = [], set()
    for index, passage in enumerate(context):
        where = f"/context/{index}"
        if not isinstance(passage, Mapping) or not isinstance(passage.get("text"), str):
            raise BadValue(f"{where}/text", "A passage has a text.")
        name = str(passage.get("id", index + 1))
        if name in seen:
            raise BadValue(f"{where}/id", f"Two passages have the id '{name}'.")
        seen.add(name)
        passages.append({**passage, "id": name, "title": str(passage.get("title", ""))})
    texts.check_json(passages, "/context")
    return passages


def new_prompt(project: Project, new: NewPrompt) -> Prompt:
    """An unsaved Prompt, checked."""
    messages, context = check_messages(new.messages), check_context(new.context)
    return Prompt(
        project=project,
        messages=messages,
        context=context,
        metadata=checked_metadata(new.metadata),
        external_id=checked_id(new.external_id),
        content_hash=content_hash(messages, context),
        split=split_of(messages=messages, context=context, seed=project.split_seed),
    )


def new_response(new: NewResponse) -> Response:
    """An unsaved Response, checked."""
    texts.check(new.text, "/text")
    texts.check(new.model, "/model")
    if len(new.model) > 200:
        raise BadValue("/model", "A model's name has at most 200 characters.")
    if new.origin not in Origin.values:
        raise BadValue("/origin", f"The origin is one of {', '.join(Origin.values)}.")
    if not isinstance(new.more.get("sampling", {}), Mapping):
        raise BadValue("/sampling", "Sampling is an object: temperature, top_p, seed and the like.")
    for name in ("thinking", "steps", "sampling", "conversation"):
        texts.check_json(new.more.get(name), f"/{name}")
    return Response(
        project_id=new.prompt.project_id,
        prompt=new.prompt,
        text=new.text,
        origin=new.origin,
        model=new.model,
        external_id=checked_id(new.external_id),
        metadata=checked_metadata(new.metadata),
        **new.more,
    )


def checked_metadata(metadata: Any) -> dict[str, Any]:
    if not isinstance(metadata, Mapping):
        raise BadValue("/metadata", "Metadata is an object.")
    return dict(texts.check_json(metadata, "/metadata"))


def checked_id(external_id: str | None) -> str | None:
    if external_id is None:
        return None
    if not isinstance(external_id, str) or not 0 < len(external_id) <= 200:
        raise BadValue("/external_id", "An external id has 1 to 200 characters.")
    return texts.check(external_id, "/external_id")


@transaction.atomic
def add_prompt(*, author: Author, project: Project, new: NewPrompt) -> tuple[Prompt, bool]:
    """Store a prompt once: the same messages and context are the same prompt. False: it was there."""
    stored, added = add_prompts(author=author, project=project, new=[new])
    return stored[0], bool(added)


@transaction.atomic
def add_prompts(*, author: Author, project: Project, new: Sequence[NewPrompt]) -> tuple[list[Prompt], int]:
    """Store many, one line in the audit trail. Gives the stored prompt of each place, and how many are new."""
    rows = [new_prompt(project, one) for one in new]
    names: dict[str, str] = {}
    for row in rows:
        if row.external_id is not None and names.setdefault(row.external_id, row.content_hash) != row.content_hash:
            raise OtherContent(key=row.external_id, differs=["messages"])
    check_names(Prompt, project, {row.external_id: row.content_hash for row in rows if row.external_id}, "content_hash")
    unique = {row.content_hash: row for row in reversed(rows)}
    Prompt.objects.bulk_create(reversed(unique.values()), batch_size=500, ignore_conflicts=True)
    stored = {row.content_hash: row for row in Prompt.objects.filter(project=project, content_hash__in=list(unique))}
    if len(stored) < len(unique):
        check_names(
            Prompt, project, {row.external_id: row.content_hash for row in rows if row.external_id}, "content_hash"
        )
    added = sum(stored[key].pk == row.pk for key, row in unique.items())
    if added:
        subject = stored[rows[0].content_hash] if len(rows) == 1 else None
        author.audit("prompts.added", project=project, subject=subject, count=added)
    for row in stored.values():
        row.project = project
    return [stored[row.content_hash] for row in rows], added


def check_names(model: Any, project: Project, names: Mapping[str, Any], compare: str) -> None:
    """A caller's id that is taken must stand for the same content."""
    if not names:
        return
    taken = model.objects.filter(project=project, external_id__in=list(names)).values_list("external_id", compare)
    for name, stored in taken:
        if stored != names[name]:
            raise OtherContent(key=name, differs=["messages" if model is Prompt else "text"])


@transaction.atomic
def add_response(
    *,
    author: Author,
    prompt: Prompt,
    text: str,
    origin: str = Origin.MODEL,
    model: str = "",
    external_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    audited: bool = True,
    **more: Any,
) -> tuple[Response, bool]:
    """Store one answer. With the caller's id the same answer comes once; without one, every call adds an answer."""
    new = NewResponse(
        prompt=prompt,
        text=text,
        origin=origin,
        model=model,
        external_id=external_id,
        metadata=metadata or {},
        more=more,
    )
    stored, added = add_responses(author=author, project=prompt.project, new=[new], audited=audited)
    return stored[0], bool(added)


@transaction.atomic
def add_responses(
    *, author: Author, project: Project, new: Sequence[NewResponse], audited: bool = True
) -> tuple[list[Response], int]:
    """Store many, one line in the audit trail. A known external id gives the stored answer, if that says the same."""
    rows = [new_response(one) for one in new]
    named = {row.external_id: row for row in reversed(rows) if row.external_id is not None}
    for row in rows:
        first = named.get(row.external_id)
        if first is not None and (first.text, first.prompt_id) != (row.text, row.prompt_id):
            raise OtherContent(key=row.external_id or "", differs=["text"])
    fresh = [row for row in rows if row.external_id is None or named[row.external_id] is row]
    known = stored_responses(project, named)
    fresh = [row for row in fresh if row.external_id not in known]
    try:
        with transaction.atomic():
            Response.objects.bulk_create(fresh, batch_size=500)
        added = len(fresh)
    except IntegrityError as error:
        if constraint_of(error) != "response_external_id_once":
            raise
        # somebody brought some of them at this moment: theirs are as good
        Response.objects.bulk_create(fresh, batch_size=500, ignore_conflicts=True)
        known = stored_responses(project, named)
        added = Response.objects.filter(pk__in=[row.pk for row in fresh]).count()
    if added and audited:
        author.audit("responses.added", project=project, subject=rows[0] if len(rows) == 1 else None, count=added)
    if named:
        join_waiting(project=project, responses=fresh)
    made = {row.external_id: row for row in fresh if row.external_id is not None}
    return [
        row if row.external_id is None else known.get(row.external_id) or made[row.external_id] for row in rows
    ], added


def stored_responses(project: Project, named: Mapping[str, Response]) -> dict[str | None, Response]:
    """The stored answers under these ids; raises OtherContent for one that says something else."""
    if not named:
        return {}
    found = {}
    for row in Response.objects.filter(project=project, external_id__in=list(named)).select_related("prompt"):
        wanted = named[row.external_id or ""]
        if (row.text, row.prompt_id) != (wanted.text, wanted.prompt_id):
            raise OtherContent(key=row.external_id or "", differs=["text"])
        row.project = project
        found[row.external_id] = row
    return found
