"""Judgements on whole answers: words, comparisons, numbers, better versions, what happened afterwards."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from annotation.models.prompts import Prompt, Response
from annotation.models.records import FeedbackRecord, ResponseRecord, record_constraints, record_indexes
from redpen.accounts.tenancy import SameProject


class Verdict(models.TextChoices):
    GOOD = "good", "good"
    BAD = "bad", "bad"


class Critique(ResponseRecord):
    """Words on the whole answer, and whether it is good or bad."""

    text = models.TextField(blank=True)
    verdict = models.CharField(max_length=8, choices=Verdict.choices, blank=True)

    class Meta:
        indexes = record_indexes()
        constraints = [
            *record_constraints("response"),
            models.CheckConstraint(condition=Q(verdict__in=["", *Verdict.values]), name="critique_verdict_known"),
            models.CheckConstraint(condition=~Q(text="", verdict=""), name="critique_says_something"),
        ]


class Preference(FeedbackRecord):
    """A beats B, or B beats A, or neither is better (tie), or both are bad (neither)."""

    class Choice(models.TextChoices):
        A = "a", "A"
        B = "b", "B"
        TIE = "tie", "tie"
        NEITHER = "neither", "neither"

    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="preferences")
    response_a = models.ForeignKey(Response, on_delete=models.CASCADE, related_name="preferences_as_a")
    response_b = models.ForeignKey(Response, on_delete=models.CASCADE, related_name="preferences_as_b")
    choice = models.CharField(max_length=8, choices=Choice.choices)
    strength = models.PositiveSmallIntegerField(default=2, help_text="1 slightly, 2 clearly, 3 far better")
    dimension = models.CharField(max_length=60, blank=True, help_text="empty: overall")
    reason = models.TextField(blank=True)
    shown_first = models.CharField(max_length=1, blank=True, help_text="a or b: which stood on the left")

    class Meta:
        indexes = record_indexes()
        constraints = [
            *record_constraints("prompt"),
            SameProject(field="response_a", name="preference_a_same_project"),
            SameProject(field="response_b", name="preference_b_same_project"),
            models.CheckConstraint(condition=~Q(response_a=F("response_b")), name="preference_of_two_answers"),
            models.CheckConstraint(
                condition=Q(choice__in=["a", "b", "tie", "neither"]), name="preference_choice_known"
            ),
            models.CheckConstraint(condition=Q(strength__gte=1, strength__lte=3), name="preference_strength_1_to_3"),
            models.CheckConstraint(condition=Q(shown_first__in=["", "a", "b"]), name="preference_order_known"),
        ]


class Ranking(FeedbackRecord):
    """Answers to one prompt in order; ties share a place."""

    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="rankings")
    places = models.JSONField(help_text="[[response id, ...], ...]: the best place first")
    dimension = models.CharField(max_length=60, blank=True)
    reason = models.TextField(blank=True)

    class Meta:
        indexes = record_indexes()
        constraints = record_constraints("prompt")


class Choice(FeedbackRecord):
    """One answer picked out of several."""

    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="choices")
    response = models.ForeignKey(Response, null=True, on_delete=models.CASCADE, related_name="choices")
    offered = models.JSONField(help_text="[response id, ...] as shown")
    reason = models.TextField(blank=True)

    class Meta:
        indexes = record_indexes()
        constraints = record_constraints("prompt", "response")


class Rating(ResponseRecord):
    """A number on a dimension; the campaign's question says its scale."""

    dimension = models.CharField(max_length=60)
    value = models.FloatField()

    class Meta:
        indexes = record_indexes()
        constraints = record_constraints("response")


class Rewrite(ResponseRecord):
    """How the answer should have read: `better` is a Response of its own, written by the author."""

    better = models.ForeignKey(Response, on_delete=models.CASCADE, related_name="rewrites_as_better")

    class Meta:
        indexes = record_indexes()
        constraints = [
            *record_constraints("response"),
            SameProject(field="better", name="rewrite_better_same_project"),
            models.CheckConstraint(condition=~Q(response=F("better")), name="rewrite_is_another_answer"),
        ]


class Outcome(ResponseRecord):
    """What happened after the answer: told at once, or judged in hindsight."""

    class Stage(models.TextChoices):
        AT_ONCE = "at_once", "at once"
        HINDSIGHT = "hindsight", "in hindsight"

    action = models.TextField(blank=True, help_text="what the person did with the answer")
    result = models.TextField(blank=True, help_text="what came of it")
    value = models.FloatField(null=True)
    stage = models.CharField(max_length=12, choices=Stage.choices)

    class Meta:
        indexes = record_indexes()
        constraints = [
            *record_constraints("response"),
            models.CheckConstraint(condition=Q(stage__in=["at_once", "hindsight"]), name="outcome_stage_known"),
        ]
