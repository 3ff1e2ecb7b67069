"""The form of the import page."""

from __future__ import annotations

from django import forms

from annotation.importers.registry import FORMATS


class ImportForm(forms.Form):
    file = forms.FileField(help_text="It is read as a stream: a large one is fine, up to 1 GB.", max_length=200)
    format = forms.ChoiceField(
        choices=[(one.name, f"{one.title}: {one.about}") for one in FORMATS.values()],
        widget=forms.RadioSelect,
        initial=next(iter(FORMATS)),
    )
    ask = forms.BooleanField(
        required=False,
        initial=True,
        label="Ask people about answers of which nothing is said",
        help_text="They come up on the pages Label and Compare.",
    )
    dry_run = forms.BooleanField(
        required=False,
        label="Only try it",
        help_text="Says what would come in and what would be refused.",
    )
