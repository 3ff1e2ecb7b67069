"""Asking the model server, which keeps models loaded in a process of its own. The web never loads one."""

from __future__ import annotations

from typing import Any

import httpx
from django.conf import settings

from redpen.accounts.errors import Invalid, Unavailable
from training.models import ModelVersion

# The first caller may wait for the process to start and for a model to load.
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 120.0
LONGEST_TEXT = 20_000  # characters that one request may have scored


class ModelServerAway(Unavailable):
    code = "model_server.away"
    title = "The model server does not answer"


class ScoreRefused(Invalid):
    code = "model_server.refused"
    title = "This text cannot be scored"


def score(
    model: ModelVersion, *, messages: list[dict[str, Any]], context: list[dict[str, Any]], text: str
) -> dict[str, Any]:
    """`{"tokens": [{start, end, text, good, bad, score, labels}], "reward": number}` for an answer."""
    if len(text) > LONGEST_TEXT:
        raise ScoreRefused(
            f"The text has {len(text):,} characters; at most {LONGEST_TEXT:,} can be scored at one time."
        )
    return ask("/score", model, {"messages": messages, "context": context, "text": text})


def ask(path: str, model: ModelVersion, body: dict[str, Any]) -> dict[str, Any]:
    where = {"model_path": str(settings.DATA_DIR / model.path)}
    try:
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        # a proxy of the environment must not stand between two processes of ours
        with httpx.Client(base_url=settings.MODEL_SERVER_URL, timeout=timeout, trust_env=False) as client:
            response = client.post(path, json={**where, **body})
    except httpx.TimeoutException as error:
        raise ModelServerAway(
            "The model server took too long. It may be loading a large model; try again in a moment.",
            code="model_server.slow",
            retry_after=15,
        ) from error
    except httpx.HTTPError as error:
        raise ModelServerAway(
            f"The model server at {settings.MODEL_SERVER_URL} cannot be reached. It is started on demand by "
            "`manage.py up`; elsewhere, see MODEL_SERVER_URL. Try again in a few seconds.",
            retry_after=5,
        ) from error
    if response.is_success:
        return response.json()
    raise refusal(response)


def refusal(response: httpx.Response) -> Exception:
    """The server's own words, where it has any."""
    try:
        told = response.json()
    except ValueError:
        told = {}
    told = told if isinstance(told, dict) else {}
    words = told.get("message") or told.get("detail") or told.get("error") or f"status {response.status_code}"
    words = " ".join(str(part) for part in (words, told.get("action")) if part)
    if response.status_code == 503:
        after = response.headers.get("Retry-After", "10")
        return ModelServerAway(words, code="model_server.busy", retry_after=int(after) if after.isdigit() else 10)
    if response.status_code < 500:
        return ScoreRefused(words, data={"status": response.status_code})
    return ModelServerAway(f"The model server failed: {words}", code="model_server.failed", retry_after=10)
