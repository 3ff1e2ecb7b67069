"""The forms of the live settings: how answers and reactions are taken in, and the kinds of reactions."""

from __future__ import annotations

from typing import Any

from django import forms

from annotation import redaction
from annotation.actions.intake import LONGEST_RETENTION
from annotation.models import IntakeSettings

ON, OFF = "on", "off"
POLARITIES = [("1", "good"), ("0", "neither good nor bad"), ("-1", "bad")]
# field: what is deleted by age, as a command and as a fact
RETENTION = {
    "keep_responses": (
        "response",
        "Delete your product's answers, with all that was said about them, after",
        "Answers",
    ),
    "keep_reactions": ("reaction", "Delete reactions after", "Reactions"),
    "keep_records": ("record", "Delete other feedback of users after", "Other feedback"),
}


def days(label: str) -> forms.IntegerField:
    bounds = f"This is a number of days from 1 to {LONGEST_RETENTION:,}, or empty."
    return forms.IntegerField(
        label=label,
        required=False,
        min_value=1,
        max_value=LONGEST_RETENTION,
        help_text="days; empty: kept for good",
        error_messages=dict.fromkeys(("invalid", "min_value", "max_value"), bounds),
    )


def redactions() -> list[tuple[str, str]]:
    return [(name, f"{name}: {about}") for name, about in redaction.NAMES.items()]


class IntakeForm(forms.Form):
    hash_users = forms.ChoiceField(
        label="Users' names",
        choices=[(OFF, "Kept as your product sends them"), (ON, "Kept as a keyed hash: nobody can read them here")],
        widget=forms.RadioSelect,
        help_text="A change holds for what comes from now on. Then the same user has two names here.",
    )
    redact = forms.MultipleChoiceField(
        label="Taken out of every text at the door",
        choices=redactions,
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    slices = forms.CharField(
        label="Split rates by",
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "placeholder": "country"}),
        help_text="Keys of your answers' metadata, one a line. Model version and language are always there.",
    )
    leave_out = forms.ChoiceField(
        label="Users whose reactions are not believed",
        choices=[(ON, "Left out of rates and snapshots; never deleted"), (OFF, "Counted like everybody")],
        widget=forms.RadioSelect,
    )
    keep_responses = days(RETENTION["keep_responses"][1])
    keep_reactions = days(RETENTION["keep_reactions"][1])
    keep_records = days(RETENTION["keep_records"][1])

    @classmethod
    def of(cls, settings: IntakeSettings) -> IntakeForm:
        kept = {name: settings.retention_days.get(kind) for name, (kind, *_) in RETENTION.items()}
        said = {
            "hash_users": ON if settings.hash_users else OFF,
            "redact": settings.redact,
            "slices": "\n".join(settings.slices),
            "leave_out": ON if settings.leave_out else OFF,
        }
        return cls(initial={**said, **kept})

    @property
    def wanted(self) -> dict[str, Any]:
        """For `change_intake`."""
        given = self.cleaned_data
        return {
            "hash_users": given["hash_users"] == ON,
            "redact": given["redact"],
            "slices": [line.strip() for line in given["slices"].splitlines() if line.strip()],
            "leave_out": given["leave_out"] == ON,
            "retention_days": {kind: given[name] for name, (kind, *_) in RETENTION.items() if given[name]},
        }


class KindChangeForm(forms.Form):
    name = forms.CharField(max_length=60)
    polarity = forms.TypedChoiceField(label="It says that the answer is", choices=POLARITIES, coerce=int)


class KindForm(KindChangeForm):
    key = forms.CharField(
        max_length=40,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "placeholder": "bookmark"}),
        help_text="What your product sends as <code>kind</code>: a-z, 0-9, - and _. It never changes.",
    )
    name = forms.CharField(max_length=60, required=False, help_text="For people; empty: made from the key.")

    field_order = ("key", "name", "polarity")
