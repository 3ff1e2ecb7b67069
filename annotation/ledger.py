"""Who was erased, kept outside the database: a backup that is restored brings the erased back, and the ledger is gone
through again (`annotation.actions.erasing_users.replay`).

A line holds no name, only a keyed hash. Both files lie in the data folder, and not in backups: copy them beside those.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from django.conf import settings

NAME, KEY = "erasures.jsonl", "erasures.key"


@dataclass(frozen=True)
class Line:
    user: str  # hash
    project: UUID
    at: datetime


def path() -> Path:
    return settings.DATA_DIR / NAME


def hash_of(project: UUID, user: str) -> str:
    """Nobody without the key file can tell whose line it is, or try names."""
    return hmac.new(_key(), f"{project}\x1f{user}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def write(line: Line) -> None:
    """Append and reach the disk before it returns. Two processes may write at once: a line is one write."""
    body = {"user": line.user, "project": str(line.project), "at": line.at.isoformat()}
    descriptor = os.open(path(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, (json.dumps(body) + "\n").encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    _reach_disk(settings.DATA_DIR)


def read() -> Iterator[Line]:
    """All lines. One that was cut off at the end (a power cut) had not been acknowledged, and is passed over."""
    if not path().exists():
        return
    with path().open(encoding="utf-8") as file:
        for text in file:
            if text.endswith("\n") and text.strip():
                body = json.loads(text)
                yield Line(body["user"], UUID(body["project"]), datetime.fromisoformat(body["at"]))


def _key() -> bytes:
    """Made once; two processes that need it at once get the same one."""
    place = settings.DATA_DIR / KEY
    if not place.exists():
        draft = place.with_name(f"{KEY}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, place)
        except FileExistsError:
            pass
        draft.unlink()
        _reach_disk(settings.DATA_DIR)
    return place.read_bytes()


def _reach_disk(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
