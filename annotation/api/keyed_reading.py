"""What a program reads back with its key: answers, reactions, records."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from annotation import events
from annotation import text as texts
from annotation.api import keyed_shapes as shapes
from annotation.api.base import MOST, number, uuid
from annotation.api.keyed import PAGED, PERIOD, SETTLED, KeyedView, choice, found, moment, named, paged, short
from annotation.errors import BadValue
from annotation.models import Reaction, ReactionKind
from annotation.models import Response as Answer
from annotation.models.prompts import Origin
from annotation.queries import records
from annotation.queries.periods import came_in
from annotation.queries.records import KINDS, STATES, Wanted
from redpen.accounts.errors import NotFound

NAMED = 100  # ids that one request may ask for
PAGE_PARAMETERS = [
    OpenApiParameter("cursor", UUID, description="`next` of the page before"),
    OpenApiParameter(
        "limit", {"type": "integer", "minimum": 1, "maximum": MOST}, description="50 where nothing is said"
    ),
    OpenApiParameter(
        "order",
        str,
        enum=("desc", "asc"),
        description=f"desc: newest first. asc: oldest first, up to {SETTLED.seconds} seconds ago, so that a reader who "
        "goes on from the last id misses nothing.",
    ),
]
PERIOD_PARAMETERS = [
    OpenApiParameter("since", datetime, description="came in then or later, as 2026-11-24T20:00:00Z"),
    OpenApiParameter("until", datetime, description="came in before then"),
]


def text_filter(name: str, description: str, **more: Any) -> OpenApiParameter:
    return OpenApiParameter(name, str, description=description, **more)


class AnswersView(KeyedView):
    scopes: ClassVar[dict[str, str]] = {"GET": "read"}
    elsewhere = ("POST",)
    filters = (
        *("model", "model_version", "user", "conversation", "language", "parent", "external_id"),
        *PERIOD,
        *PAGED,
    )

    @extend_schema(
        operation_id="list_responses",
        tags=["responses"],
        summary="Answers, newest first",
        parameters=[
            text_filter("model", "the name of the model, exactly"),
            OpenApiParameter("model_version", UUID, description="the id of a model of Redpen's"),
            text_filter("user", "whom it was written for"),
            text_filter("conversation", "your id of the conversation"),
            text_filter("language", "exactly, as de-AT"),
            text_filter("parent", "the answer that it replaces: your id or ours"),
            text_filter("external_id", f"your id; up to {NAMED} of them", many=True),
            *PERIOD_PARAMETERS,
            *PAGE_PARAMETERS,
        ],
        responses=shapes.KeyedAnswersOutput,
    )
    def get(self, request: Request) -> Response:
        params = request.query_params
        rows = (
            self.mine(Answer).select_related("prompt").filter(came_in(moment(params, "since"), moment(params, "until")))
        )
        for name, field in (("model", "model"), ("user", "external_user"), ("conversation", "conversation")):
            if value := short(params, name):
                rows = rows.filter(**{field: value})
        if language := short(params, "language", 35):
            rows = rows.filter(language=language)
        if params.get("model_version"):
            rows = rows.filter(model_version=uuid(params["model_version"], "model_version"))
        if parent := short(params, "parent"):
            known = list(self.mine(Answer).filter(named(parent)).values_list("pk", flat=True)[:2])
            rows = rows.filter(Q(parent__in=known) | Q(parent=None, parent_external_id=parent))
        if names := params.getlist("external_id"):
            if len(names) > NAMED:
                raise BadValue("/external_id", f"Ask for at most {NAMED} ids at once.")
            rows = rows.filter(external_id__in=[texts.check(name, "/external_id") for name in names])
        items, following = paged(rows, params)
        return Response({"items": [shapes.answer(row) for row in items], "next": following})


class AnswerView(KeyedView):
    scopes: ClassVar[dict[str, str]] = {"GET": "read"}

    @extend_schema(
        operation_id="get_response",
        tags=["responses"],
        summary="One answer with what was said about it and what stands around it",
        parameters=[OpenApiParameter("name", str, OpenApiParameter.PATH, description="our id or yours")],
        responses=shapes.KeyedAnswerInFullOutput,
    )
    def get(self, request: Request, name: str) -> Response:
        row = found(self.mine(Answer).select_related("prompt"), name, "response")
        before, after = neighbours(row, self.mine(Answer))
        reactions = self.mine(Reaction).filter(response=row).select_related("kind").order_by("-id")[:MOST]
        children = self.mine(Answer).filter(parent=row, origin=Origin.MODEL).order_by("id")[:MOST]
        return Response(
            {
                **shapes.answer(row),
                "replaced_by": [shapes.neighbour(child) for child in children],
                "previous": shapes.neighbour(before),
                "following": shapes.neighbour(after),
                "reactions": [shapes.reaction(one) for one in reactions],
                "records": records.tally(project=self.project, response=row.pk, test=self.test),
            }
        )


def neighbours(row: Answer, rows: QuerySet[Answer]) -> tuple[Answer | None, Answer | None]:
    """The answers before and after this one in its conversation, by turn; by id where the turns are alike."""
    if not row.conversation:
        return None, None
    rows = rows.filter(conversation=row.conversation)
    if row.turn is None:
        rows = rows.filter(turn=None)
        return rows.filter(id__lt=row.pk).order_by("-id").first(), rows.filter(id__gt=row.pk).order_by("id").first()
    before = Q(turn__lt=row.turn) | Q(turn=row.turn, id__lt=row.pk)
    after = Q(turn__gt=row.turn) | Q(turn=row.turn, id__gt=row.pk)
    return rows.filter(before).order_by("-turn", "-id").first(), rows.filter(after).order_by("turn", "id").first()


class ReactionsView(KeyedView):
    scopes: ClassVar[dict[str, str]] = {"GET": "read"}
    elsewhere = ("POST",)
    filters = ("kind", "user", "response", "state", *PERIOD, *PAGED)

    @extend_schema(
        operation_id="list_reactions",
        tags=["reactions"],
        summary="Events, newest first",
        parameters=[
            text_filter("kind", "the key of a kind of reaction"),
            text_filter("user", "who reacted"),
            text_filter("response", "the answer: your id or ours"),
            OpenApiParameter(
                "state", str, enum=STATES, description="live: those that count; ended: taken back or replaced; or all"
            ),
            *PERIOD_PARAMETERS,
            *PAGE_PARAMETERS,
        ],
        responses=shapes.KeyedReactionsOutput,
    )
    def get(self, request: Request) -> Response:
        params = request.query_params
        rows = (
            self.mine(Reaction).select_related("kind").filter(came_in(moment(params, "since"), moment(params, "until")))
        )
        state = choice(params, "state", STATES, "live")
        if state != "all":
            rows = rows.filter(ended_at__isnull=state == "live")
        if kind := params.get("kind"):
            rows = rows.filter(kind=kind_named(self, kind))
        if user := short(params, "user"):
            rows = rows.filter(external_user=user)
        if response := short(params, "response"):
            known = list(self.mine(Answer).filter(named(response)).values_list("pk", flat=True)[:2])
            rows = rows.filter(Q(response__in=known) if known else Q(response=None, response_external_id=response))
        items, following = paged(rows, params)
        return Response({"items": [shapes.reaction(row) for row in items], "next": following})


def kind_named(view: KeyedView, key: str) -> ReactionKind:
    kinds = {kind.key: kind for kind in ReactionKind.objects.filter(project=view.project)}
    if key not in kinds:
        raise BadValue("/kind", f"There is no kind '{key[:60]}'. There are: {', '.join(sorted(kinds))}.")
    return kinds[key]


class ReactionView(KeyedView):
    scopes: ClassVar[dict[str, str]] = {"GET": "read"}
    elsewhere = ("DELETE",)

    @extend_schema(
        operation_id="get_reaction",
        tags=["reactions"],
        summary="One event",
        parameters=[OpenApiParameter("name", str, OpenApiParameter.PATH, description="our id or yours")],
        responses=shapes.KeyedReactionOutput,
    )
    def get(self, request: Request, name: str) -> Response:
        texts.check(name, "/id")
        wanted = Q(dedup=events.named_event(self.project.pk, self.test, name))
        try:
            wanted |= Q(pk=UUID(name))
        except ValueError:
            pass
        both = sorted(
            self.mine(Reaction).select_related("kind").filter(wanted), key=lambda row: row.external_id != name
        )
        if not both:
            raise NotFound("There is no reaction of this name here, or it is not this key's to see.")
        return Response(shapes.reaction(both[0]))


class RecordsView(KeyedView):
    scopes: ClassVar[dict[str, str]] = {"GET": "read"}
    filters = ("kind", "user", "response", "state", *PERIOD, *PAGED)

    @extend_schema(
        operation_id="list_records",
        tags=["records"],
        summary="Records of all kinds, newest first: what users, and the project's own people, said",
        parameters=[
            OpenApiParameter("kind", str, enum=list(KINDS)),
            text_filter("user", "your user who said it"),
            text_filter("response", "the answer: your id or ours"),
            OpenApiParameter("state", str, enum=STATES, description="live where nothing is said"),
            *PERIOD_PARAMETERS,
            *PAGE_PARAMETERS,
        ],
        responses=shapes.KeyedRecordsOutput,
    )
    def get(self, request: Request) -> Response:
        params = request.query_params
        forwards = choice(params, "order", ("desc", "asc"), "desc") == "asc"
        response = short(params, "response")
        wanted = Wanted(
            kind=choice(params, "kind", ("", *KINDS), ""),
            user=short(params, "user"),
            response=found(self.mine(Answer), response, "response").pk if response else None,
            state=choice(params, "state", STATES, "live"),
            test=self.test,
            since=moment(params, "since"),
            until=moment(params, "until"),
            forwards=forwards,
            settled=timezone.now() - SETTLED if forwards else None,
        )
        rows, following = records.listed(
            project=self.project,
            wanted=wanted,
            cursor=uuid(params["cursor"], "cursor") if params.get("cursor") else None,
            limit=number(params, "limit", 50, MOST),
        )
        return Response({"items": [shapes.record(row) for row in rows], "next": following and str(following)})
