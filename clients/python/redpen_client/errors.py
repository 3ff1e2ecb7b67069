"""What can go wrong, as the server told it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass(frozen=True)
class Problem:
    """An RFC 9457 problem: a stable code for programs, the rest for people. `problems` point at fields."""

    status: int
    code: str
    detail: str
    title: str = ""
    problems: list[dict[str, Any]] = field(default_factory=list)

    def __str__(self) -> str:
        where = ", ".join(str(one.get("pointer") or "/") for one in self.problems)
        return f"{self.status} {self.code}: {self.detail}" + (f" [{where}]" if where else "")

    @classmethod
    def of(cls, told: Any, status: int) -> Problem:
        """From a problem document, or from anything else that stands in its place."""
        if not isinstance(told, Mapping):
            return cls(status, f"http.{status}", f"The server answered with status {status}.")
        return cls(
            status=told["status"] if isinstance(told.get("status"), int) else status,
            code=str(told.get("code") or f"http.{status}"),
            detail=str(told.get("detail") or told.get("title") or f"status {status}"),
            title=str(told.get("title") or ""),
            problems=[one for one in told.get("problems") or [] if isinstance(one, dict)],
        )

    @classmethod
    def of_reply(cls, reply: httpx.Response) -> Problem:
        """From a reply that was read."""
        return cls.of(json_of(reply), reply.status_code)


def json_of(reply: httpx.Response) -> Any | None:
    """The reply's JSON; None where it is none (a proxy's page, say)."""
    try:
        return reply.json()
    except ValueError:
        return None


class RedpenError(Exception):
    """The base of what this package raises."""


class ApiError(RedpenError):
    """The server refused what was asked; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class Away(RedpenError):
    """The server could not be reached, or asked to come again too often."""
