"""A product that sends its answers and reactions: keys of a project, and a client for the real server."""

from __future__ import annotations

from typing import Any

import httpx

from redpen.accounts import keys
from redpen.accounts.models import ApiKey, Project

RESPONSES, REACTIONS = "/api/v1/responses", "/api/v1/reactions"
ALL = ["responses.write", "reactions.write", "read"]


def make_key(project: Project, **about: Any) -> tuple[str, ApiKey]:
    """A key by its row, as the settings page makes it."""
    token = keys.new_token(test=about.get("test", False), public=about.get("public", False))
    about = {"name": "shop", "scopes": ["reactions.write"] if about.get("public") else ALL, **about}
    hidden = {"prefix": keys.prefix_of(token), "secret_hash": keys.hash_of(token)}
    return token, ApiKey.objects.create(project=project, **hidden, **about)


class Shop:
    """`shop.react(...)` sends one reaction; `shop.send(path, body)` sends anything."""

    def __init__(self, url: str, project: Project, **about: Any) -> None:
        self.project = project
        self.token, self.key = make_key(project, **about)
        self.client = httpx.Client(base_url=url, timeout=30, headers={"Authorization": f"Bearer {self.token}"})

    def send(self, path: str, body: Any, **headers: str) -> httpx.Response:
        if isinstance(body, bytes):
            return self.client.post(path, content=body, headers={"Content-Type": "application/json", **headers})
        return self.client.post(path, json=body, headers=headers)

    def answer(self, id: str | None = "a-1", **more: Any) -> httpx.Response:
        body = {"messages": [{"role": "user", "content": "Who built it?"}], "text": "A king.", "model": "m-1", **more}
        return self.send(RESPONSES, {**body, **({"id": id} if id else {})})

    def react(self, kind: str = "like", response: str = "a-1", **more: Any) -> httpx.Response:
        return self.send(REACTIONS, {"kind": kind, "response": response, **more})


def lines(*items: str) -> bytes:
    return "\n".join(items).encode()
