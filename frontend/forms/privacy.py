"""Erasing a user of the product."""

from __future__ import annotations

from django import forms

from annotation.pseudonyms import LONGEST


class EraseForm(forms.Form):
    user = forms.CharField(
        label="User",
        max_length=LONGEST,
        strip=False,
        help_text="as your product sends it, or the pseudonym that is kept of it",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "dir": "auto"}),
    )
