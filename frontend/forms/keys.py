"""The forms of API keys: a new one, and how long a rotated one goes on working."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.utils import timezone

from redpen.accounts.actions.keys import OVERLAP, PUBLIC_PER_MINUTE
from redpen.accounts.models import ApiKey

SECRET, PUBLIC = "secret", "public"
LIVE, TEST = "live", "test"
NEVER = "never"
PLACES = [
    (SECRET, "On a server: secret, does what you tick"),
    (PUBLIC, "In a web page: public, only writes reactions, from pages that you name"),
]
SCOPES = [
    (ApiKey.Scope.RESPONSES.value, "Write responses"),
    (ApiKey.Scope.REACTIONS.value, "Write reactions and other feedback of users"),
    (ApiKey.Scope.READ.value, "Read records, rates and exports"),
]
LIFETIMES = [(NEVER, "Never"), ("30", "In 30 days"), ("90", "In 90 days"), ("365", "In a year")]
OVERLAPS = [
    ("0", "not at all: it ends at once"),
    ("1", "for an hour"),
    (str(OVERLAP), "for 24 hours"),
    ("168", "for 7 days"),
    ("720", "for 30 days"),
]


class KeyForm(forms.Form):
    """What is asked of one sort of key only is left out for the other (css/keys.css hides it)."""

    use_required_attribute = False  # the browser would ask for what is hidden

    name = forms.CharField(label="What it is for", max_length=60, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    place = forms.ChoiceField(label="Where it is used", choices=PLACES, initial=SECRET, widget=forms.RadioSelect)
    scopes = forms.MultipleChoiceField(
        label="What it may do",
        choices=SCOPES,
        initial=[ApiKey.Scope.RESPONSES.value, ApiKey.Scope.REACTIONS.value],
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    origins = forms.CharField(
        label="Pages that may use it",
        max_length=6000,
        error_messages={"required": "Name the pages' origins, as https://shop.example."},
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false", "placeholder": "https://shop.example"}),
        help_text="One origin a line: scheme and host, without a path.",
    )
    data = forms.ChoiceField(
        label="Which data it writes",
        choices=[(LIVE, "Live data"), (TEST, "Test data: kept apart, never trained on")],
        initial=LIVE,
        widget=forms.RadioSelect,
    )
    per_minute = forms.IntegerField(
        label="Records a minute",
        required=False,
        help_text=f"Empty: no limit; for a public key {PUBLIC_PER_MINUTE} from each address.",
    )
    days = forms.ChoiceField(label="When it ends", choices=LIFETIMES, initial=NEVER)

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self.fields["origins"].required = not self.is_bound or self.data.get("place") == PUBLIC

    @property
    def wanted(self) -> dict[str, Any]:
        """For `create_key`."""
        given = self.cleaned_data
        public = given["place"] == PUBLIC
        return {
            "name": given["name"],
            "public": public,
            "scopes": [] if public else given["scopes"],
            "origins": given["origins"].split() if public else [],
            "test": given["data"] == TEST,
            "per_minute": given["per_minute"],
            "expires_at": timezone.now() + timedelta(days=int(given["days"])) if given["days"] != NEVER else None,
        }


class RotateForm(forms.Form):
    overlap_hours = forms.TypedChoiceField(choices=OVERLAPS, coerce=int, initial=str(OVERLAP))
