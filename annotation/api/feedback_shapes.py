"""What POST /api/v1/feedback takes, as msgspec structs told apart by `type`. They decode, check and make the schema."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from annotation.intake.shapes import Moment, Name, OptionalName

LONGEST_ID = 90
Key = Annotated[str, Meta(min_length=1, max_length=LONGEST_ID, description="your id of it: sent twice, kept once")]
Offset = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Strength = Literal[1, 2, 3]
Dimension = Annotated[str, Meta(max_length=60, description="what is judged, as tone; empty: overall")]


class Feedback(Struct, forbid_unknown_fields=True, omit_defaults=True, tag_field="type", kw_only=True):
    """What all kinds share."""

    id: Key | None = None
    user: Annotated[OptionalName, Meta(description="who says it: a pseudonym")] = ""
    at: Annotated[Moment | None, Meta(description="when it was said, if not now")] = None
    metadata: dict[str, Any] = {}


class OnAnswer(Feedback, kw_only=True):
    response: Annotated[Name, Meta(description="the answer: your id or ours; it must be here already")]
    part: Annotated[str, Meta(max_length=100, description="text, thinking or steps/<index>/<field>")] = "text"


class Span(OnAnswer, tag="span", kw_only=True):
    """A phrase, good or bad, and why. Offsets are half-open and count Unicode code points of the stored text."""

    start: Offset
    end: Offset
    quote: Annotated[str, Meta(description="what stands there, exactly; empty: something is missing here")]
    sentiment: Literal[-1, 0, 1] | None = None
    severity: Strength = 2
    label: Annotated[str, Meta(max_length=60, description="the key of a label of the project")] = ""
    critique: str = ""
    replacement: Annotated[str | None, Meta(description="how it should read; empty: strike it")] = None


class Critique(OnAnswer, tag="critique", kw_only=True):
    """Words on the whole answer, or a verdict, or both."""

    text: str = ""
    verdict: Literal["", "good", "bad"] = ""


class Rating(OnAnswer, tag="rating", kw_only=True):
    """A number on a dimension. The scale is yours: always the same for one dimension."""

    dimension: Annotated[str, Meta(min_length=1, max_length=60)]
    value: float


class Rewrite(Feedback, tag="rewrite", kw_only=True):
    """How the answer should have read, in full."""

    response: Annotated[Name, Meta(description="the answer: your id or ours; it must be here already")]
    text: Annotated[str, Meta(min_length=1, description="the better answer")]


class Preference(Feedback, tag="preference", kw_only=True):
    """One of two answers to the same prompt is better."""

    a: Annotated[Name, Meta(description="an answer: your id or ours")]
    b: Annotated[Name, Meta(description="the other answer")]
    choice: Annotated[Literal["a", "b", "tie", "neither"], Meta(description="tie: as good; neither: both are bad")]
    strength: Annotated[Strength, Meta(description="1 slightly, 2 clearly, 3 far better")] = 2
    dimension: Dimension = ""
    reason: str = ""
    shown_first: Literal["", "a", "b"] = ""


class Ranking(Feedback, tag="ranking", kw_only=True):
    """Answers to one prompt in order, the best place first; answers that share a place are tied."""

    places: Annotated[list[Annotated[list[Name], Meta(min_length=1)]], Meta(min_length=1, max_length=50)]
    dimension: Dimension = ""
    reason: str = ""


class Choice(Feedback, tag="choice", kw_only=True):
    """One answer picked out of several, or none of them."""

    offered: Annotated[list[Name], Meta(min_length=2, max_length=50, description="as shown")]
    chosen: Annotated[Name | None, Meta(description="null: none of them")] = None
    reason: str = ""


class Outcome(OnAnswer, tag="outcome", kw_only=True):
    """What happened after the answer: told at once, or judged in hindsight."""

    stage: Literal["at_once", "hindsight"]
    action: Annotated[str, Meta(description="what the user did with the answer")] = ""
    result: Annotated[str, Meta(description="what came of it")] = ""
    value: float | None = None


class Report(OnAnswer, tag="report", kw_only=True):
    """Something about the answer that an admin must see."""

    reason: Annotated[str, Meta(min_length=1, max_length=60)]
    text: str = ""


AnyFeedback = Span | Critique | Rating | Rewrite | Preference | Ranking | Choice | Outcome | Report
TYPES = ("span", "critique", "rating", "rewrite", "preference", "ranking", "choice", "outcome", "report")
decode = msgspec.json.Decoder(AnyFeedback).decode
