"""A column that may hold people's words has a rule for erasing them, or the build fails."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib.postgres.fields import ArrayField
from django.db import models

from annotation.erasure import RULES

MAY_HOLD_WORDS = (
    models.CharField,
    models.TextField,
    models.JSONField,
    ArrayField,
    models.BinaryField,
    models.FileField,
)


def tables():
    return [model for label in ("annotation", "training") for model in apps.get_app_config(label).get_models()]


def wordy(model):
    return {field.name for field in model._meta.concrete_fields if isinstance(field, MAY_HOLD_WORDS)}


@pytest.mark.parametrize("model", tables(), ids=lambda model: model._meta.label)
def test_every_column_that_may_hold_words_has_a_rule(model):
    known = set(RULES.get(model, {}))
    assert wordy(model) - known == set(), (
        "Say in annotation/erasure_rules.py or training/erasure.py what becomes of this when a user is erased."
    )
    assert known - wordy(model) == set(), "There is no such column any more."


def test_what_can_be_a_users_own_is_never_called_not_theirs():
    for model in tables():
        for name in wordy(model) & {"external_user", "text", "critique", "messages", "spans"}:
            if hasattr(model, "external_user") or hasattr(model, "messages"):
                assert RULES[model][name].name == "WITH_THE_ROW", f"{model._meta.label}.{name}"
