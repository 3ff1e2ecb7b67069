"""POST /api/v1/feedback: what a product's users said beyond a tap. The same envelope and statuses as the hot path."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import md5
from typing import Any, ClassVar
from uuid import UUID

import msgspec
from django.db import connection, transaction
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotation.actions.people import Author
from annotation.actions.records import retract
from annotation.api import feedback_shapes as shapes
from annotation.api.feedback_rows import Item, Taker, record_named
from annotation.api.keyed import KeyedView
from annotation.intake.limits import Buckets, Limits
from annotation.intake.problems import StillRunning, as_problem, misfit, unreadable
from annotation.intake.reading import is_lines, too_large, unpacked
from annotation.intake.shapes import BatchResult, Result
from annotation.intake.taking import Refused
from annotation.intake.writer import CLAIM, other_body
from redpen.accounts.errors import Invalid, NotFound, RedpenError, TooLarge, TooMany, WrongMediaType

PART = 500  # items of one transaction
split_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
encode = msgspec.json.Encoder().encode
buckets, metering = Buckets(), threading.Lock()


class RetractedOutput(serializers.Serializer):
    status = serializers.ChoiceField(["retracted"])
    id = serializers.UUIDField()


class FeedbackView(KeyedView):
    scopes: ClassVar[dict[str, str]] = {"POST": "reactions.write"}

    @extend_schema(exclude=True)  # annotation.api.schema describes it as it does the hot path
    def post(self, request: Request) -> HttpResponse:
        limits = Limits()
        body, lines = read_body(request, limits)
        keyed = idempotency_key(request)
        with once(self, keyed, body) as claim:
            if not lines and body.lstrip(b" \t\r\n")[:1] != b"[":
                self._meter(1)
                return self._one(body, keyed, limits, claim)
            items: list[Any] = [line for line in body.split(b"\n") if line.strip()] if lines else split(body)
            most = limits.line_items if lines else limits.batch_items
            if len(items) > most:
                how = "lines of NDJSON" if lines else "items in one array; NDJSON takes more"
                raise TooLarge(f"There are {len(items)} items; this takes {most} {how}.", data={"most_items": most})
            self._meter(len(items))
            return self._many(items, keyed, limits, claim)

    def _meter(self, count: int) -> None:
        if not self.key.per_minute:
            return
        with metering:
            wait = buckets.wait(self.key.pk, count, self.key.per_minute)
        if wait:
            seconds = int(wait) + 1
            words = f"This key takes {self.key.per_minute} records a minute. Send it again in {seconds} s."
            raise TooMany(words, retry_after=seconds)

    def _one(self, body: bytes, keyed: str | None, limits: Limits, claim: Callable[[], None]) -> HttpResponse:
        taker = Taker(project=self.project, author=self.author, test=self.test)
        item = checked(taker, body, keyed, limits)
        claim()
        taker.take([item])
        assert item.result is not None
        if item.result.problem is not None:
            raise Refused(item.result)
        return reply(item.result, 201 if item.result.status == "stored" else 200)

    def _many(self, items: Sequence[Any], keyed: str | None, limits: Limits, claim: Callable[[], None]) -> HttpResponse:
        claim()
        taker = Taker(project=self.project, author=self.author, test=self.test)
        results: list[Result] = []
        for start in range(0, len(items), PART):
            part: list[Item | Result] = []
            for place, raw in enumerate(items[start : start + PART], start):
                try:
                    part.append(checked(taker, raw, f"{keyed}/{place}" if keyed else None, limits))
                except RedpenError as error:
                    part.append(Result("refused", problem=as_problem(error)))
            taker.take([item for item in part if isinstance(item, Item)])
            results += [fate for item in part if (fate := item if isinstance(item, Result) else item.result)]
        counts = {"stored": 0, "repeated": 0, "refused": 0, "retry": 0}
        for fate in results:
            counts[fate.status] += 1
        return reply(BatchResult(**counts, results=results), 207 if counts["refused"] else 200)


class OneFeedbackView(KeyedView):
    scopes: ClassVar[dict[str, str]] = {"DELETE": "reactions.write"}

    @extend_schema(
        operation_id="retract_feedback",
        tags=["feedback"],
        summary="Take back what was sent: it stays readable and counts no more. Once more changes nothing.",
        parameters=[OpenApiParameter("name", str, OpenApiParameter.PATH, description="your id or ours")],
        responses={200: RetractedOutput},
    )
    def delete(self, request: Request, name: str) -> Response:
        row = record_named(project=self.project, name=name, test=self.test)
        if row is None:
            raise NotFound("There is no feedback of this name here, or no key has sent it.")
        with transaction.atomic():
            said = Author(agent=row.agent)
            row = retract(author=said, row=row, action=f"{row._meta.model_name}.retracted")
        return Response({"status": "retracted", "id": str(row.pk)})


def checked(taker: Taker, raw: Any, name: str | None, limits: Limits) -> Item:
    """One item decoded and checked; raises a RedpenError that says what is wrong with it."""
    if len(raw) > limits.item_bytes:
        most = limits.item_bytes // 1024
        raise TooLarge(f"One item has at most {most} kB, not {len(raw) // 1024}.", data={"most_bytes": most * 1024})
    try:
        said = shapes.decode(raw)
    except msgspec.ValidationError as error:
        raise known_types(misfit(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise unreadable(error) from None
    return taker.item(said, name=name)


def known_types(error: RedpenError) -> RedpenError:
    """For a type that there is not: say which there are."""
    if error.problems and error.problems[0]["pointer"] == "/type":
        error.message = f"The type is one of {', '.join(shapes.TYPES)}."
        error.problems[0]["message"] = error.message
    return error


def split(body: bytes) -> list[Any]:
    try:
        return split_array(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise unreadable(error) from None


def read_body(request: Request, limits: Limits) -> tuple[bytes, bool]:
    """The unpacked body, and whether it is NDJSON; raises TooLarge (413) and WrongMediaType (415)."""
    lines = is_lines({b"content-type": request.headers.get("Content-Type", "").encode("latin-1", "replace")})
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("identity", "gzip", ""):
        raise WrongMediaType(f"Content-Encoding is gzip or nothing, not '{coding[:40]}'.")
    body = request._request.read(limits.body_bytes + 1)  # Django's own limit is for forms
    if len(body) > limits.body_bytes:
        raise too_large(limits)
    return (unpacked(body, limits) if coding == "gzip" else body), lines


def idempotency_key(request: Request) -> str | None:
    name = request.headers.get("Idempotency-Key")
    if name is not None and not (0 < len(name) <= 80 and name.isprintable()):
        raise Invalid("Idempotency-Key has 1 to 80 printable characters.", code="idempotency.bad_key")
    return name


@contextmanager
def once(view: KeyedView, key: str | None, body: bytes) -> Iterator[Callable[[], None]]:
    """Under an Idempotency-Key: one request at a time. What it gives writes the key down before anything is stored,
    and refuses another body than the first.
    """
    if key is None:
        yield lambda: None
        return
    digest = str(UUID(bytes=md5(body, usedforsecurity=False).digest()))
    claim = [str(view.project.pk), view.test, "feedback", key, digest]
    lock = f"feedback {view.project.pk} {view.test} {key}"
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [lock])
        if not cursor.fetchone()[0]:
            words = "The first request under this Idempotency-Key is still running. Ask again in a moment."
            raise StillRunning(words)

    def claimed() -> None:
        with connection.cursor() as cursor:
            cursor.execute(CLAIM, claim)
            if (stored := cursor.fetchone()) is not None and stored[0] != digest:
                raise other_body(key)

    try:
        yield claimed
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [lock])


def reply(said: Any, status: int) -> HttpResponse:
    return HttpResponse(
        encode(said), status=status, content_type="application/json", headers={"Cache-Control": "no-store"}
    )
