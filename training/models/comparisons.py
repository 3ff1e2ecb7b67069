"""A comparison of recipes: a graph of runs over seeds, kept as what was asked for and the runs that stand for it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from annotation.models.base import ProjectRow, unique_in_project
from redpen.accounts.models import User
from redpen.accounts.tenancy import SameProject
from training.models.runs import Run


class Comparison(ProjectRow):
    """What was asked for. How far it has come is told by its runs and stands nowhere else."""

    number = models.PositiveIntegerField(help_text="counts up in the project")
    name = models.CharField(max_length=120, blank=True)
    options = models.JSONField(default=dict, help_text="validated by training.compare.options.Options")
    created_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    client_key = models.CharField(max_length=100, null=True, help_text="a double click starts one comparison")
    cancelled_at = models.DateTimeField(null=True, help_text="set while somebody wants it to stand still")

    class Meta:
        constraints = [
            unique_in_project(),
            models.UniqueConstraint(fields=["project", "number"], name="comparison_number_once"),
            models.UniqueConstraint(fields=["project", "client_key"], name="comparison_client_key_once"),
        ]

    def __str__(self) -> str:
        return self.name or f"Comparison {self.number}"


class Trial(ProjectRow):
    """A place in a comparison's graph and the run that fills it now; resumed, another run takes the place."""

    class Part(models.TextChoices):
        JUDGE = "judge", "judge"  # a reward model, shared by the recipes of one seed
        POLICY = "policy", "policy"
        EVALUATION = "evaluation", "evaluation"

    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="trials")
    place = models.CharField(max_length=160, help_text="as grpo/2/policy: what is compared, the seed, the part")
    subject = models.CharField(max_length=60, help_text="the recipe that is compared; of a judge, its own")
    part = models.CharField(max_length=12, choices=Part.choices)
    seed = models.PositiveIntegerField(null=True, help_text="none: the model that all start from")
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="trials")

    class Meta:
        constraints = [
            unique_in_project(),
            SameProject(field="comparison", name="trial_comparison_same_project"),
            SameProject(field="run", name="trial_run_same_project"),
            models.UniqueConstraint(fields=["comparison", "place"], name="trial_place_once"),
            models.CheckConstraint(condition=Q(part__in=["judge", "policy", "evaluation"]), name="trial_part_known"),
        ]

    def __str__(self) -> str:
        return self.place
