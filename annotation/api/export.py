"""GET /api/v1/export: everything that a key may read, streamed as NDJSON or Parquet."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from typing import ClassVar

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request

from annotation.api.keyed import PERIOD, KeyedView, choice, moment
from annotation.api.keyed_reading import PERIOD_PARAMETERS
from annotation.errors import BadValue
from annotation.exports import flat
from annotation.exports.flat import TYPES, Chosen, lines
from annotation.exports.parquet import parquet
from annotation.queries.records import STATES
from redpen.accounts.errors import TooMany

FORMATS = ("ndjson", "parquet")
AT_ONCE = 2  # exports in one process: each holds a thread and a connection for as long as its reader likes
places = threading.BoundedSemaphore(AT_ONCE)


class KeyedExportView(KeyedView):
    scopes: ClassVar[dict[str, str]] = {"GET": "read"}
    filters = ("format", "types", "state", *PERIOD)

    @extend_schema(
        operation_id="export",
        tags=["export"],
        summary="Everything, or what came in within a time, as a stream",
        description="One object a line, as the lists show them, each with its `type`. Parquet has one row for each, "
        f"with the columns {', '.join(flat.COLUMNS)}; `data` is the whole object as JSON. NDJSON is compressed where "
        "`Accept-Encoding` allows gzip. The stream is of one moment. Where it breaks off, the connection breaks too.",
        parameters=[
            OpenApiParameter("format", str, enum=FORMATS, description="ndjson where nothing is said"),
            OpenApiParameter(
                "types", str, description=f"with commas between; all where nothing is said: {','.join(TYPES)}"
            ),
            OpenApiParameter("state", str, enum=STATES, description="live where nothing is said; answers never end"),
            *PERIOD_PARAMETERS,
        ],
        responses={
            (200, "application/x-ndjson"): OpenApiTypes.STR,
            (200, "application/vnd.apache.parquet"): OpenApiTypes.BINARY,
        },
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        params = request.query_params
        wanted = tuple(dict.fromkeys(name for name in params.get("types", "").split(",") if name)) or TYPES
        if unknown := sorted(set(wanted) - set(TYPES)):
            raise BadValue("/types", f"There is no type '{unknown[0][:60]}'. There are: {', '.join(TYPES)}.")
        kind = choice(params, "format", FORMATS, FORMATS[0])
        chosen = Chosen(
            project=self.project,
            test=self.test,
            types=wanted,
            since=moment(params, "since"),
            until=moment(params, "until"),
            state=choice(params, "state", STATES, "live"),
        )
        if kind == "parquet":
            return download(parquet(lines(chosen, flat.flat)), f"{self.project.slug}.parquet", PARQUET)
        zipped = "gzip" in request.headers.get("Accept-Encoding", "")
        pieces = lines(chosen)
        response = download(gzipped(pieces) if zipped else pieces, f"{self.project.slug}.ndjson", NDJSON)
        response["Vary"] = "Accept-Encoding"
        if zipped:
            response["Content-Encoding"] = "gzip"
        return response


NDJSON, PARQUET = "application/x-ndjson", "application/vnd.apache.parquet"


class Placed:
    """A stream that takes one of the places until it ends or its reader leaves; Django calls `close` in any case."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        if not places.acquire(blocking=False):
            raise TooMany(f"{AT_ONCE} exports are running already. Ask again when one has ended.", retry_after=15)
        self.pieces, self.open = pieces, True

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self.pieces)
        except BaseException:  # the end too
            self.close()
            raise

    def close(self) -> None:
        if self.open:
            self.open = False
            places.release()
            self.pieces.close()  # type: ignore[attr-defined]

    def __del__(self) -> None:
        if getattr(self, "open", False):
            self.close()


def download(pieces: Iterator[bytes], name: str, kind: str) -> StreamingHttpResponse:
    response = StreamingHttpResponse(Placed(pieces), content_type=kind)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    return response


def gzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(6, wbits=31)
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()
