"""What became of what a project's product sent: counts by outcome and reason, to read."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from django.db.models import Sum
from django.utils import timezone

from annotation.models import IntakeCount
from redpen.accounts.models import Project

WORDS = {
    "idempotency.other_content": "the same id, or Idempotency-Key, came with something else",
    "idempotency.still_running": "repeated while the first was still running",
    "invalid": "a field is missing, unknown, or of another type",
    "item.unstorable": "the database cannot hold it",
    "key.unknown": "the key was revoked or expired meanwhile",
    "kind.unknown": "a kind of reaction that is not declared",
    "number.too_large": "a whole number beyond 64 bits",
    "request.not_readable": "no JSON, or nested too deep",
    "request.too_large": "too large",
    "request.too_many": "more than the key, or the project, may send a minute",
    "request.too_slow": "the body did not arrive in time",
    "request.wrong_media_type": "another content type or encoding",
    "required": "a text or steps are missing",
    "span.quote_mismatch": "a phrase does not fit its offsets",
    "text.unstorable": "a NUL character or half of a surrogate pair",
    "unavailable": "the server had too much to do, or no database",
    "user.nobody": "a user called null, undefined and the like",
}
OPERATIONS = ("responses", "reactions")


@dataclass
class Arrivals:
    """What came of one kind. `problems` are (outcome, code, in words, count), the most frequent first."""

    operation: str
    stored: int = 0
    repeated: int = 0
    dropped: int = 0
    problems: list[tuple[str, str, str, int]] = field(default_factory=list)

    @property
    def turned_away(self) -> int:
        return sum(count for *_, count in self.problems)


def arrivals(project: Project, *, hours: int, test: bool = False) -> list[Arrivals]:
    """The last `hours`, whole hours of UTC, the current one included."""
    since = timezone.now() - timedelta(hours=hours)
    rows = IntakeCount.objects.filter(project=project, test=test, hour__gt=since)
    found = {operation: Arrivals(operation) for operation in OPERATIONS}
    sums = rows.values_list("operation", "outcome", "code").annotate(total=Sum("count")).order_by("-total", "code")
    for operation, outcome, code, total in sums:
        one = found[operation]
        if outcome in ("stored", "repeated", "dropped"):
            setattr(one, outcome, getattr(one, outcome) + total)
        else:
            one.problems.append((outcome, code, WORDS.get(code, ""), total))
    return list(found.values())
