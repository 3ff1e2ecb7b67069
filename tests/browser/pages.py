"""Every page there is, from the URL conf: what the tests of accessibility and of the content policy walk through."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from django.urls import URLPattern, get_resolver
from django.urls.resolvers import URLResolver

LEFT_OUT = ("api/v1/", "support/", "static/", "readyz", "livez")  # no pages of ours


@dataclass(frozen=True)
class Route:
    name: str
    pattern: str

    def path(self, values: dict[str, str]) -> str | None:
        """The address with the named parts filled in, or None where one has no value."""
        missing = [part for part in re.findall(r"<(?:\w+:)?(\w+)>", self.pattern) if part not in values]
        return None if missing else "/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda part: values[part[1]], self.pattern)


def routes() -> list[Route]:
    """All URL patterns outside the API, by name."""

    def walk(resolver: URLResolver, prefix: str) -> Iterator[Route]:
        for entry in resolver.url_patterns:
            pattern = prefix + str(entry.pattern)
            if isinstance(entry, URLPattern):
                yield Route(entry.name or "", pattern)
            else:
                yield from walk(entry, pattern)

    return [route for route in walk(get_resolver(), "") if not route.pattern.startswith(LEFT_OUT)]
