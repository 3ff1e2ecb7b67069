"""What the page of keys shows: the rows with their states, and lines to try a key with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from redpen.accounts.models import ApiKey
from redpen.accounts.queries.keys import state_of

KINDS = {"works": "good", "ends soon": "warn", "rotated": "warn", "expired": "", "revoked": "bad"}
ANSWER = {
    "id": "answer-1",
    "messages": [{"role": "user", "content": "How long is the warranty?"}],
    "text": "Two years.",
    "model": "our-model",
}
TAP = {"response": "answer-1", "kind": "like", "user": "user-1"}


@dataclass(frozen=True)
class ShownKey:
    key: ApiKey
    state: str
    badge: str  # the badge's kind

    @property
    def works(self) -> bool:
        return self.state in ("works", "ends soon", "rotated")

    @property
    def may_be_rotated(self) -> bool:
        return self.works and self.key.rotated_to_id is None


def show(key: ApiKey) -> ShownKey:
    state = state_of(key)
    return ShownKey(key=key, state=state, badge=KINDS[state])


def curl(*, site: str, token: str, scopes: Sequence[str], origin: str = "") -> str:
    """A command that tries the key out. `token` may be the name of a shell variable, with its $."""
    lines = [f'-H "Authorization: Bearer {token}"']
    if origin:
        lines.append(f'-H "Origin: {origin}"')
    if ApiKey.Scope.RESPONSES in scopes or ApiKey.Scope.REACTIONS in scopes:
        path, item = ("responses", ANSWER) if ApiKey.Scope.RESPONSES in scopes else ("reactions", TAP)
        lines += ['-H "Content-Type: application/json"', f"-d '{json.dumps(item)}'"]
    else:
        path = "responses"
    return " \\\n  ".join([f"curl {site}/api/v1/{path}", *lines])
