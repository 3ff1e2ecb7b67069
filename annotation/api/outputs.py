"""What the endpoints answer, for the schema. shapes.py makes it; a test holds both to the same fields."""

from __future__ import annotations

from rest_framework import serializers

from annotation.models import Assignment, ImportJob, Origin, Task
from annotation.models.campaigns import Sentiment, TaskKind
from annotation.models.prompts import Split
from annotation.models.records import EndReason


def once(output: type[serializers.Serializer]) -> dict[int, type[serializers.Serializer]]:
    """201 for a new record, 200 when the same came before."""
    return {201: output, 200: output}


class PersonOutput(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()


class SpanOutput(serializers.Serializer):
    lineage = serializers.UUIDField(help_text="the mark; each change makes a version of it")
    id = serializers.UUIDField(help_text="this version")
    version = serializers.IntegerField()
    response = serializers.UUIDField()
    part = serializers.CharField(help_text="text, thinking, or steps/<index>/<field>")
    start = serializers.IntegerField(help_text="code points from the start of the stored text")
    end = serializers.IntegerField(help_text="exclusive; equal to start: something is missing here")
    quote = serializers.CharField(allow_blank=True)
    sentiment = serializers.ChoiceField(Sentiment.choices)
    severity = serializers.IntegerField(min_value=1, max_value=3)
    label = serializers.UUIDField(allow_null=True)
    critique = serializers.CharField(allow_blank=True)
    replacement = serializers.CharField(allow_null=True, allow_blank=True)
    group = serializers.UUIDField(allow_null=True)
    assignment = serializers.UUIDField(allow_null=True)
    author = PersonOutput(allow_null=True)
    agent = serializers.CharField(allow_blank=True)
    origin = serializers.ChoiceField(Origin.choices)
    mine = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)
    end_reason = serializers.ChoiceField(EndReason.choices, allow_blank=True)


class SpansOutput(serializers.Serializer):
    items = SpanOutput(many=True)


class PreferenceOutput(serializers.Serializer):
    lineage = serializers.UUIDField()
    id = serializers.UUIDField()
    version = serializers.IntegerField()
    a = serializers.UUIDField()
    b = serializers.UUIDField()
    choice = serializers.ChoiceField(["a", "b", "tie", "neither"])
    strength = serializers.IntegerField(min_value=1, max_value=3)
    dimension = serializers.CharField(allow_blank=True)
    reason = serializers.CharField(allow_blank=True)
    shown_first = serializers.ChoiceField(["a", "b"], allow_blank=True)
    assignment = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)


class AnswerOutput(serializers.Serializer):
    id = serializers.UUIDField()
    text = serializers.CharField()


class AskedPromptOutput(serializers.Serializer):
    id = serializers.UUIDField()
    messages = serializers.ListField(child=serializers.DictField())
    context = serializers.ListField(child=serializers.DictField())


class PromptOutput(AskedPromptOutput):
    metadata = serializers.DictField()
    split = serializers.ChoiceField(Split.choices)
    external_id = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()


class ResponseOutput(serializers.Serializer):
    id = serializers.UUIDField()
    prompt = serializers.UUIDField()
    text = serializers.CharField()
    thinking = serializers.CharField(allow_blank=True)
    steps = serializers.ListField(allow_null=True)
    origin = serializers.ChoiceField(Origin.choices)
    model = serializers.CharField(allow_blank=True)
    model_version = serializers.UUIDField(allow_null=True)
    sampling = serializers.DictField()
    external_id = serializers.CharField(allow_null=True)
    parent = serializers.UUIDField(allow_null=True)
    conversation = serializers.CharField(allow_blank=True)
    turn = serializers.IntegerField(allow_null=True)
    metadata = serializers.DictField()
    created_at = serializers.DateTimeField()


class LabelOutput(serializers.Serializer):
    id = serializers.UUIDField()
    key = serializers.CharField()
    name = serializers.CharField()
    sentiment = serializers.ChoiceField(Sentiment.choices)
    description = serializers.CharField(allow_blank=True)
    shortcut = serializers.CharField(allow_blank=True)


class AskedOutput(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    version = serializers.IntegerField()
    guidelines = serializers.CharField(allow_blank=True)


class TaskOutput(serializers.Serializer):
    id = serializers.UUIDField()
    priority_reason = serializers.CharField(allow_blank=True)


class QuestionOutput(serializers.Serializer):
    text = serializers.CharField(allow_blank=True)
    config = serializers.DictField()


class ChosenOutput(serializers.Serializer):
    choice = serializers.ChoiceField(["left", "right", "tie", "neither"])
    strength = serializers.IntegerField()
    reason = serializers.CharField(allow_blank=True)


class AssignmentOutput(serializers.Serializer):
    id = serializers.UUIDField()
    kind = serializers.ChoiceField(TaskKind.choices)
    state = serializers.ChoiceField(Assignment.State.choices)
    attempt = serializers.IntegerField()
    lease_expires_at = serializers.DateTimeField(allow_null=True)
    submitted_at = serializers.DateTimeField(allow_null=True)
    draft = serializers.DictField()
    task = TaskOutput()
    campaign = AskedOutput()
    labels = LabelOutput(many=True)
    questions = QuestionOutput(many=True)
    prompt = AskedPromptOutput()
    response = AnswerOutput(required=False, help_text="of spans")
    left = AnswerOutput(required=False, help_text="of a pair")
    right = AnswerOutput(required=False, help_text="of a pair")
    spans = SpanOutput(many=True, help_text="mine, live")
    verdict = serializers.ChoiceField(["good", "bad"], allow_blank=True)
    words = serializers.CharField(allow_blank=True)
    preference = ChosenOutput(allow_null=True)


class DealOutput(serializers.Serializer):
    assignment = AssignmentOutput(allow_null=True)
    why = serializers.ChoiceField(["done", "held", "closed"], allow_blank=True)
    message = serializers.CharField(allow_blank=True)
    left = serializers.IntegerField(help_text="tasks left for me, counted no further than 1000")


class ClosedOutput(serializers.Serializer):
    assignment = AssignmentOutput()
    extra = serializers.BooleanField(help_text="the places were filled: kept as one more opinion")
    next = DealOutput(allow_null=True)


class ReopenedOutput(serializers.Serializer):
    assignment = AssignmentOutput()


class LeaseOutput(serializers.Serializer):
    state = serializers.ChoiceField(Assignment.State.choices)
    lease_expires_at = serializers.DateTimeField(allow_null=True)


class DraftOutput(serializers.Serializer):
    draft = serializers.DictField()


class TasksOutput(serializers.Serializer):
    tasks = serializers.DictField(
        child=serializers.DictField(child=serializers.IntegerField()),
        help_text=f"kind: {{{', '.join(Task.State.values)}: how many}}",
    )
    unread = serializers.IntegerField(help_text="answers of which nothing was said and nobody was asked")


class NewTasksOutput(serializers.Serializer):
    spans = serializers.IntegerField()
    pairs = serializers.IntegerField()


class RecordOutput(serializers.Serializer):
    """The line of the export for its type (docs/import.md), and these."""

    type = serializers.CharField()
    id = serializers.UUIDField()
    lineage = serializers.UUIDField()
    version = serializers.IntegerField()
    author = PersonOutput(allow_null=True)
    counts = serializers.BooleanField(help_text="live and handed in: training sees it")
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)
    end_reason = serializers.CharField(allow_blank=True)


class RecordsOutput(serializers.Serializer):
    items = RecordOutput(many=True)
    next = serializers.UUIDField(allow_null=True)


class HistoryOutput(serializers.Serializer):
    versions = RecordOutput(many=True)


class PromptsOutput(serializers.Serializer):
    items = PromptOutput(many=True)
    next = serializers.UUIDField(allow_null=True)


class ResponsesOutput(serializers.Serializer):
    items = ResponseOutput(many=True)
    next = serializers.UUIDField(allow_null=True)


class ImportOutput(serializers.Serializer):
    id = serializers.UUIDField()
    format = serializers.CharField()
    filename = serializers.CharField()
    dry_run = serializers.BooleanField()
    state = serializers.ChoiceField(ImportJob.State.choices)
    report = serializers.DictField(help_text="items, taken, repeated, refused, refusals, asked")
    error = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)


class ImportsOutput(serializers.Serializer):
    items = ImportOutput(many=True)
    next = serializers.UUIDField(allow_null=True)
