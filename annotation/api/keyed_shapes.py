"""What a key reads: how rows look, and the same for the schema. A test holds both to the same fields."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from annotation.api.shapes import key, when
from annotation.models import FeedbackRecord, Origin, Reaction, ReactionKind, Response
from annotation.models.records import EndReason
from annotation.queries import records

# responses


def answer(row: Response) -> dict[str, Any]:
    """Needs select_related("prompt")."""
    return {
        "id": str(row.pk),
        "external_id": row.external_id,
        "messages": row.prompt.messages,
        "context": row.prompt.context,
        "text": row.text,
        "thinking": row.thinking,
        "steps": row.steps,
        "model": row.model,
        "model_version": key(row.model_version),
        "sampling": row.sampling,
        "metadata": row.metadata,
        "user": row.external_user,
        "conversation": row.conversation,
        "turn": row.turn,
        "parent": key(row.parent_id),
        "parent_external_id": row.parent_external_id,
        "language": row.language,
        "origin": row.origin,
        "at": when(row.written_at or row.created_at),
        "created_at": when(row.created_at),
        "test": row.test,
    }


class KeyedAnswerOutput(serializers.Serializer):
    id = serializers.UUIDField(help_text="ours")
    external_id = serializers.CharField(allow_null=True, help_text="yours")
    messages = serializers.ListField(child=serializers.DictField(), help_text="what was asked")
    context = serializers.ListField(child=serializers.DictField(), help_text="passages given with it")
    text = serializers.CharField(allow_blank=True)
    thinking = serializers.CharField(allow_blank=True)
    steps = serializers.ListField(child=serializers.DictField(), allow_null=True)
    model = serializers.CharField(allow_blank=True)
    model_version = serializers.UUIDField(allow_null=True)
    sampling = serializers.DictField()
    metadata = serializers.DictField()
    user = serializers.CharField(allow_blank=True)
    conversation = serializers.CharField(allow_blank=True)
    turn = serializers.IntegerField(allow_null=True)
    parent = serializers.UUIDField(allow_null=True, help_text="the answer that this one replaces")
    parent_external_id = serializers.CharField(allow_blank=True, help_text="your id of it")
    language = serializers.CharField(allow_blank=True)
    origin = serializers.ChoiceField(Origin.choices)
    at = serializers.DateTimeField(help_text="when it was written")
    created_at = serializers.DateTimeField(help_text="when it came in")
    test = serializers.BooleanField()


class KeyedAnswersOutput(serializers.Serializer):
    items = KeyedAnswerOutput(many=True)
    next = serializers.UUIDField(allow_null=True, help_text="goes into ?cursor=; null on the last page")


# reactions


def reaction(row: Reaction) -> dict[str, Any]:
    """Needs select_related("kind")."""
    return {
        "id": str(row.pk),
        "external_id": row.external_id,
        "response": key(row.response_id),
        "response_external_id": row.response_external_id,
        "kind": row.kind.key,
        "polarity": row.kind.polarity,
        "retracts": row.retracts,
        "user": row.external_user,
        "at": when(row.event_at),
        "text": row.text,
        "spans": row.spans,
        "metadata": row.metadata,
        "created_at": when(row.created_at),
        "ended_at": when(row.ended_at),
        "end_reason": row.end_reason,
        "test": row.test,
    }


class KeyedReactionOutput(serializers.Serializer):
    id = serializers.UUIDField(help_text="ours")
    external_id = serializers.CharField(allow_null=True, help_text="yours")
    response = serializers.UUIDField(allow_null=True, help_text="the answer; null until it has come")
    response_external_id = serializers.CharField(allow_blank=True, help_text="as you named it")
    kind = serializers.CharField()
    polarity = serializers.ChoiceField([-1, 0, 1])
    retracts = serializers.BooleanField(help_text="an event that took a tap back")
    user = serializers.CharField(allow_blank=True)
    at = serializers.DateTimeField(help_text="when it happened")
    text = serializers.CharField(allow_blank=True)
    spans = serializers.ListField(child=serializers.DictField(), allow_null=True)
    metadata = serializers.DictField()
    created_at = serializers.DateTimeField(help_text="when it came in")
    ended_at = serializers.DateTimeField(allow_null=True, help_text="since when it does not count any more")
    end_reason = serializers.ChoiceField(EndReason.choices, allow_blank=True)
    test = serializers.BooleanField()


class KeyedReactionsOutput(serializers.Serializer):
    items = KeyedReactionOutput(many=True)
    next = serializers.UUIDField(allow_null=True, help_text="goes into ?cursor=; null on the last page")


class NeighbourOutput(serializers.Serializer):
    id = serializers.UUIDField()
    external_id = serializers.CharField(allow_null=True)
    turn = serializers.IntegerField(allow_null=True)


def neighbour(row: Response | None) -> dict[str, Any] | None:
    return row and {"id": str(row.pk), "external_id": row.external_id, "turn": row.turn}


class KeyedAnswerInFullOutput(KeyedAnswerOutput):
    replaced_by = NeighbourOutput(many=True, help_text="answers that name this one as their parent")
    previous = NeighbourOutput(allow_null=True, help_text="in its conversation")
    following = NeighbourOutput(allow_null=True, help_text="in its conversation")
    reactions = KeyedReactionOutput(many=True, help_text="the newest 200, ended ones too")
    records = serializers.DictField(child=serializers.IntegerField(), help_text="kind: how many live records")


# records


def record(row: FeedbackRecord) -> dict[str, Any]:
    """As the export writes it, with what happened to it. No person of the project is named: `by` holds an id."""
    from annotation.exports.redpen_jsonl import TYPES

    kind = records.BY_MODEL[type(row)]
    said = TYPES[kind.key][1](row) if kind.key in TYPES else {"text": getattr(row, "text", "")}
    return {
        **said,
        "type": kind.key,
        "id": str(row.pk),
        "lineage": str(row.lineage),
        "version": row.version,
        "user": row.external_user,
        "counts": records.counts(row),
        "created_at": when(row.created_at),
        "ended_at": when(row.ended_at),
        "end_reason": row.end_reason,
        "test": row.test,
    }


class KeyedRecordOutput(serializers.Serializer):
    """The line of the export for its type (docs/import.md), and these."""

    type = serializers.ChoiceField(list(records.KINDS))
    id = serializers.UUIDField(help_text="this version of the record")
    lineage = serializers.UUIDField(help_text="the record")
    version = serializers.IntegerField()
    user = serializers.CharField(allow_blank=True, help_text="your user, where one said it")
    counts = serializers.BooleanField(help_text="live and handed in: training sees it")
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)
    end_reason = serializers.ChoiceField(EndReason.choices, allow_blank=True)
    test = serializers.BooleanField()


class KeyedRecordsOutput(serializers.Serializer):
    items = KeyedRecordOutput(many=True)
    next = serializers.UUIDField(allow_null=True, help_text="goes into ?cursor=; null on the last page")


# kinds of reactions


def kind(row: ReactionKind) -> dict[str, Any]:
    return {"key": row.key, "name": row.name, "polarity": row.polarity, "built_in": row.built_in}


class KeyedKindOutput(serializers.Serializer):
    key = serializers.CharField()
    name = serializers.CharField()
    polarity = serializers.ChoiceField([-1, 0, 1], help_text="1 good, -1 bad, 0 neither")
    built_in = serializers.BooleanField(help_text="`shown`: that the user saw the answer")


class KeyedKindsOutput(serializers.Serializer):
    items = KeyedKindOutput(many=True)
