"""Records of all kinds, with filters and pages by key; the history of one."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from annotation.actions import judgements
from annotation.api import outputs, shapes
from annotation.api.base import MOST, ProjectView, number, uuid
from annotation.errors import BadValue
from annotation.exports.redpen_jsonl import TYPES
from annotation.models import FeedbackRecord
from annotation.models.prompts import Origin, Split
from annotation.queries import records
from annotation.queries.records import KINDS, STATES, Wanted
from redpen.accounts.errors import NotFound
from redpen.accounts.models import User

CHOICES = {"kind": tuple(KINDS), "state": STATES, "origin": tuple(Origin.values), "split": tuple(Split.values)}
DATA = ("live", "test")  # what test keys wrote is never mixed with the rest
IDS = ("label", "author", "response")
WORDS = ("agent", "model", "text")
FILTERS = [
    *(OpenApiParameter(name, str, enum=values) for name, values in CHOICES.items()),
    OpenApiParameter("data", str, enum=DATA, description="test: what test keys wrote, and nothing else"),
    *(OpenApiParameter(name, UUID) for name in (*IDS, "cursor")),
    *(OpenApiParameter(name, str) for name in WORDS),
    OpenApiParameter("limit", int),
]


def wanted_from(params: Any, *, mine: User | None) -> Wanted:
    """The filters of a query string, checked."""
    found: dict[str, Any] = {"mine": mine}
    for name, values in CHOICES.items():
        if value := params.get(name):
            if value not in values:
                raise BadValue(f"/{name}", f"`{name}` is one of {', '.join(values)}.")
            found[name] = value
    if (data := params.get("data") or DATA[0]) not in DATA:
        raise BadValue("/data", "`data` is live or test.")
    found["test"] = data == "test"
    found |= {name: uuid(params[name], name) for name in IDS if params.get(name)}
    found |= {name: params[name].replace("\0", "") for name in WORDS if params.get(name)}
    return Wanted(**found)


def shape(row: FeedbackRecord) -> dict[str, Any]:
    """As the export writes it, with what happened to it."""
    kind = records.BY_MODEL[type(row)]
    said = TYPES[kind.key][1](row) if kind.key in TYPES else {"text": getattr(row, "text", "")}
    return {
        **said,
        "type": kind.key,
        "id": str(row.pk),
        "lineage": str(row.lineage),
        "version": row.version,
        "author": shapes.person(row.author),
        "counts": records.counts(row),
        "created_at": shapes.when(row.created_at),
        "ended_at": shapes.when(row.ended_at),
        "end_reason": row.end_reason,
    }


class RecordsView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "records.see_own"}
    filters = tuple(one.name for one in FILTERS)

    @extend_schema(summary="Records, newest first: all, or mine", parameters=FILTERS, responses=outputs.RecordsOutput)
    def get(self, request: Request, slug: str) -> Response:
        params = request.query_params
        rows, following = records.listed(
            project=self.project,
            wanted=wanted_from(params, mine=None if self.sees_everything else request.user),
            cursor=uuid(params["cursor"], "cursor") if params.get("cursor") else None,
            limit=number(params, "limit", 50, MOST),
        )
        return Response({"items": [shape(row) for row in rows], "next": shapes.key(following)})


class RecordView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "records.see_own", "DELETE": "label"}

    @extend_schema(summary="Take back what I said; it stays readable", responses={200: outputs.RecordOutput})
    def delete(self, request: Request, slug: str, lineage: UUID) -> Response:
        versions = records.find(project=self.project, lineage=lineage, mine=request.user)
        if not versions:
            raise NotFound("There is no such record, or it is not yours to take back.")
        return Response(shape(judgements.retract(author=self.author, row=versions[-1])))

    @extend_schema(summary="All versions of one record, the first one first", responses=outputs.HistoryOutput)
    def get(self, request: Request, slug: str, lineage: UUID) -> Response:
        mine = None if self.sees_everything else request.user
        versions = records.find(project=self.project, lineage=lineage, mine=mine)
        if not versions:
            raise NotFound("There is no such record, or it is not yours to see.")
        return Response({"versions": [shape(row) for row in versions]})
