"""What a snapshot asks for, frozen: the same query over the same records always gives the same rows."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

RowKind = Literal[
    "response",  # marked or reviewed, with its marks
    "preference",
    "prompt",
    "ranking",
    "choice",
    "rating",
    "verdict",  # a critique that says good or bad of the whole answer
    "reaction",
    "rewrite",
    "demonstration",  # an answer that a person wrote
]
ROW_KINDS: tuple[RowKind, ...] = get_args(RowKind)


class SnapshotQuery(BaseModel):
    """Kinds of rows, filters on the records in them, and the moment up to which records count."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kinds: tuple[RowKind, ...] = Field(min_length=1, description="kinds of rows, in the order they are written in")
    origins: tuple[Literal["human", "model", "program"], ...] = Field((), description="who said it; empty: anybody")
    campaigns: tuple[UUID, ...] = Field((), description="asked by these campaigns; empty: any, or none")
    test: bool = Field(False, description="what test keys sent, too")
    leave_out: bool | None = Field(
        None, description="users who are not believed stay out; empty: as the project's settings say"
    )
    until: datetime | None = Field(None, description="records made later, or ended by then, do not count; empty: now")

    def frozen(self, now: datetime, *, leave_out: bool = True) -> SnapshotQuery:
        """The query with its moment filled in, by Postgres' clock, and what the project's settings say."""
        wanted = {"until": self.until or now, "leave_out": leave_out if self.leave_out is None else self.leave_out}
        return self.model_copy(update=wanted)
