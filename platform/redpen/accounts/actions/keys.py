"""API keys: made, rotated and revoked. A token is given back once and kept nowhere; audit lines hold ids only."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Least, Now
from django.utils import timezone

from redpen.accounts import audit
from redpen.accounts.actions.names import one_line
from redpen.accounts.errors import Conflict, Invalid, NotFound
from redpen.accounts.keys import hash_of, new_token, prefix_of
from redpen.accounts.models import ApiKey, Project, User

PUBLIC_PER_MINUTE = 60
MOST_PER_MINUTE = 1_000_000
MOST_ORIGINS = 20
OVERLAP = 24  # hours that a rotated key goes on working, unless told otherwise
LONGEST_OVERLAP = 30 * 24

Problem = dict[str, str]


class KeyEnded(Conflict):
    """It was revoked or has expired: nothing can be made of it."""

    code = "key.ended"


class KeyRotated(Conflict):
    """Its successor was made already."""

    code = "key.rotated"


@transaction.atomic
def create_key(
    *,
    project: Project,
    actor: User,
    name: str,
    scopes: Sequence[str] = (),
    test: bool = False,
    public: bool = False,
    origins: Sequence[str] = (),
    per_minute: int | None = None,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its token, which is not kept and cannot be shown again.

    A public key needs no scopes: it may write reactions, no more. Raises Invalid with a pointer for each field.
    """
    problems: list[Problem] = []
    name = checked_name(name, problems)
    scopes = checked_scopes(scopes, public, problems)
    origins = checked_origins(origins, public, problems)
    per_minute = checked_rate(per_minute, public, problems)
    if expires_at is not None and expires_at <= timezone.now():
        problems.append(problem("/expires_at", "This time has passed. Choose a later one, or none.", "key.expired"))
    if problems:
        raise Invalid(" ".join(one["message"] for one in problems), problems=problems)
    powers = {"scopes": scopes, "test": test, "public": public, "origins": origins, "per_minute": per_minute}
    key, token = insert(project=project, created_by=actor, name=name, expires_at=expires_at, **powers)
    audit.record("key.made", project=project, actor=actor, subject=key, scopes=scopes, test=test, public=public)
    return key, token


@transaction.atomic
def rotate_key(*, project: Project, actor: User, key_id: UUID, overlap_hours: int = OVERLAP) -> tuple[ApiKey, str]:
    """A successor with the same powers, and its token. The old key works for `overlap_hours` more; 0: it ends now.

    A key that was made for ninety days gets a successor for ninety days.
    """
    if not 0 <= overlap_hours <= LONGEST_OVERLAP:
        message = f"The overlap is 0 to {LONGEST_OVERLAP} hours."
        raise Invalid(message, problems=[problem("/overlap_hours", message)])
    old = ApiKey.objects.select_for_update().filter(project=project, pk=key_id).first()
    if old is None:
        raise no_such_key()
    if old.rotated_to_id:
        raise KeyRotated(
            "This key was rotated already. Rotate the key that took its place.",
            data={"rotated_to": str(old.rotated_to_id)},
        )
    if has_ended(old):
        raise KeyEnded("This key has ended and cannot be rotated. Make a new one.")
    powers = {name: getattr(old, name) for name in ("name", "scopes", "test", "public", "origins", "per_minute")}
    expires_at = timezone.now() + (old.expires_at - old.created_at) if old.expires_at else None
    key, token = insert(project=project, created_by=actor, expires_at=expires_at, **powers)
    ends: dict[str, Any] = {"expires_at": Least("expires_at", Now() + timedelta(hours=overlap_hours))}
    if overlap_hours == 0:
        ends["revoked_at"] = Now()
    ApiKey.objects.filter(pk=old.pk).update(rotated_to=key, **ends)  # Postgres' LEAST passes over nulls
    audit.record("key.rotated", project=project, actor=actor, subject=old, new=str(key.pk), overlap_hours=overlap_hours)
    return key, token


@transaction.atomic
def revoke_key(*, project: Project, actor: User, key_id: UUID) -> ApiKey:
    """End a key at once. Revoking it twice is harmless."""
    revoked = ApiKey.objects.filter(project=project, pk=key_id, revoked_at=None).update(revoked_at=Now())
    key = ApiKey.objects.filter(project=project, pk=key_id).first()
    if key is None:
        raise no_such_key()
    if revoked:
        audit.record("key.revoked", project=project, actor=actor, subject=key)
    return key


def insert(**fields: Any) -> tuple[ApiKey, str]:
    token = new_token(test=fields["test"], public=fields["public"])
    key = ApiKey.objects.create(prefix=prefix_of(token), secret_hash=hash_of(token), **fields)
    key.refresh_from_db(fields=["created_at"])
    return key, token


def has_ended(key: ApiKey) -> bool:
    return key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= timezone.now())


def no_such_key() -> NotFound:
    return NotFound("There is no such key in this project.")


# ---- what a key may be ----


def problem(pointer: str, message: str, code: str = "invalid") -> Problem:
    return {"pointer": pointer, "message": message, "code": code}


def checked_name(name: str, problems: list[Problem]) -> str:
    try:
        return one_line(name, pointer="/name", what="The name", longest=60)
    except Invalid as error:
        problems += error.problems
        return ""


def checked_scopes(scopes: Sequence[str], public: bool, problems: list[Problem]) -> list[str]:
    known = ApiKey.Scope.values
    for index, scope in enumerate(scopes):
        if scope not in known:
            message = f"There is no scope '{scope}'. There are: {', '.join(known)}."
            problems.append(problem(f"/scopes/{index}", message, "key.unknown_scope"))
        elif public and scope != ApiKey.Scope.REACTIONS:
            message = f"A public key may do {ApiKey.Scope.REACTIONS.value} only: anybody can read it in the page."
            problems.append(problem(f"/scopes/{index}", message, "key.public_scope"))
    if not scopes and not public:
        problems.append(problem("/scopes", f"Say what the key may do: {', '.join(known)}.", "required"))
    return [ApiKey.Scope.REACTIONS.value] if public else [scope for scope in known if scope in scopes]


def checked_rate(per_minute: int | None, public: bool, problems: list[Problem]) -> int:
    if per_minute is None:
        return PUBLIC_PER_MINUTE if public else 0
    lowest = 1 if public else 0
    if not lowest <= per_minute <= MOST_PER_MINUTE:
        none = "" if public else " (0: no limit)"
        message = f"This is a number of records from {lowest} to {MOST_PER_MINUTE:,}{none}."
        problems.append(problem("/per_minute", message))
    return per_minute


def checked_origins(origins: Sequence[str], public: bool, problems: list[Problem]) -> list[str]:
    if not public:
        if origins:
            message = "Only a public key has origins: any other must never be in a browser."
            problems.append(problem("/origins", message, "key.not_public"))
        return []
    if not origins:
        message = "Name the pages' origins that may use this key, as https://shop.example."
        problems.append(problem("/origins", message, "required"))
    if len(origins) > MOST_ORIGINS:
        problems.append(problem("/origins", f"At most {MOST_ORIGINS} origins fit; make a second key for others."))
    kept = []
    for index, text in enumerate(origins[:MOST_ORIGINS]):
        try:
            kept.append(origin(text))
        except ValueError as error:
            problems.append(problem(f"/origins/{index}", str(error), "key.bad_origin"))
    return list(dict.fromkeys(kept))


HOST = r"\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?"
ORIGIN = re.compile(rf"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>{HOST})(?::(?P<port>[0-9]{{1,5}}))?")
LOCAL = {"localhost", "127.0.0.1", "[::1]"}
STANDARD_PORT = {"https": 443, "http": 80}


def origin(text: str) -> str:
    """`text` as browsers send it in the header Origin; raises ValueError that says what is wrong."""
    said = text.strip().lower()
    short = said if len(said) <= 80 else f"{said[:80]}…"
    if "*" in said:
        raise ValueError(f"'{short}' names more than one origin. Name each.")
    if not said.isascii():
        raise ValueError(f"Write the host of '{short}' as browsers send it: xn--….")
    if len(said) > 200:
        raise ValueError("An origin has at most 200 characters.")
    found = ORIGIN.fullmatch(said)
    if found is None:
        begin = ORIGIN.match(said)
        if begin and said[begin.end()] in "/?#":
            raise ValueError(f"An origin has no path: write {begin[0]} instead of {short}.")
        raise ValueError(f"'{short}' is no origin. Write scheme, host and perhaps a port: https://shop.example.")
    scheme, host, port = found["scheme"], found["host"], int(found["port"] or 0)
    if ".." in host or (host.startswith("[") and not is_ipv6(host[1:-1])):
        raise ValueError(f"{host} is no host.")
    if port > 65535 or (found["port"] and port == 0):
        raise ValueError(f"{found['port']} is no port.")
    if scheme != "https" and not (scheme == "http" and host in LOCAL):
        raise ValueError(f"Write https://{host}: other schemes are taken for localhost only, and there http.")
    return f"{scheme}://{host}" + (f":{port}" if port and port != STANDARD_PORT[scheme] else "")


def is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
