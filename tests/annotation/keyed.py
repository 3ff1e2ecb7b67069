"""What tests of key-authenticated endpoints start from: keys, and a client that sends one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.test import Client

SCOPES = ["responses.write", "reactions.write", "read"]


def make_key(project, *, scopes=SCOPES, test: bool = False, public: bool = False, **fields: Any):
    """A key and its token."""
    from redpen.accounts import keys
    from redpen.accounts.models import ApiKey

    token = keys.new_token(test=test, public=public)
    key = ApiKey.objects.create(
        project=project,
        name="a key",
        prefix=keys.prefix_of(token),
        secret_hash=keys.hash_of(token),
        scopes=list(scopes),
        test=test,
        public=public,
        **fields,
    )
    return key, token


@dataclass
class Keyed:
    """Asks with one key."""

    token: str
    base: str = "/api/v1/"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def get(self, path: str, **params: Any):
        return Client().get(f"{self.base}{path}", params, headers=self.headers)

    def post(self, path: str, body: Any, *, content_type: str = "application/json", **headers: str):
        return Client().post(f"{self.base}{path}", body, content_type=content_type, headers={**self.headers, **headers})

    def delete(self, path: str):
        return Client().delete(f"{self.base}{path}", headers=self.headers)


def asking(project, **about: Any) -> Keyed:
    return Keyed(make_key(project, **about)[1])


def make_answer(project, text: str = "An answer.", *, prompt=None, **fields: Any):
    """An answer as the intake would store it."""
    from annotation.actions.prompts import content_hash, split_of
    from annotation.models import Prompt, Response

    if prompt is None:
        test = fields.get("test", False)
        messages = [{"role": "user", "content": "What is it?"}]
        prompt, _ = Prompt.objects.get_or_create(
            project=project,
            content_hash=content_hash(messages, [], test=test),
            defaults={
                "messages": messages,
                "split": split_of(messages=messages, context=[], seed=project.split_seed),
                "test": test,
            },
        )
    return Response.objects.create(project=project, prompt=prompt, text=text, **fields)


def make_reaction(project, kind: str, **event: Any):
    """An event as the intake would store it."""
    from django.utils import timezone

    from annotation.actions.people import Author
    from annotation.actions.reactions import react
    from annotation.models import ReactionKind

    event.setdefault("event_at", timezone.now())
    return react(
        author=Author(agent="key:rp_live_somebody"),
        kind=ReactionKind.objects.get(project=project, key=kind),
        **event,
    )[0]
