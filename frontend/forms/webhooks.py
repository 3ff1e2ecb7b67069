"""The form of a webhook; the action checks what it brings."""

from __future__ import annotations

from django import forms

from annotation.actions.webhooks import LISTENABLE
from annotation.models.webhooks import Event


class WebhookForm(forms.Form):
    url = forms.CharField(
        max_length=500,
        label="Address",
        help_text="An https address that the internet can reach. Redirects are not followed.",
        widget=forms.URLInput(attrs={"placeholder": "https://hooks.example.com/redpen", "spellcheck": "false"}),
    )
    events = forms.MultipleChoiceField(
        label="Tell it when",
        choices=[(event, Event(event).label.capitalize()) for event in LISTENABLE],
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one."},
    )
    name = forms.CharField(max_length=60, required=False, label="What it is for")
    test = forms.BooleanField(
        required=False,
        label="Hears of test data",
        help_text="What test keys send, and nothing else. This cannot be changed later.",
    )


class WebhookChangeForm(WebhookForm):
    test = None
