"""The form of a new comparison: which recipes, how many seeds, who knows the truth."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings

from redpen.accounts.errors import Invalid
from training.compare.options import DEFAULT_RECIPES, Options
from training.compare.settings import SETTINGS
from training.queries.models import base_models
from training.recipes import registry
from training.recipes.rewarding import CHECKERS


def policies() -> list[tuple[str, str]]:
    return [(name, recipe.title) for name, recipe in registry.RECIPES.items() if recipe.produces == "policy"]


def number(label: str, lowest: int, highest: int, initial: int, help_text: str = "") -> forms.IntegerField:
    """A whole number within bounds, refused in our words."""
    whole = f"This is a whole number from {lowest} to {highest:,}."
    names = ("required", "invalid", "min_value", "max_value")
    return forms.IntegerField(
        label=label,
        min_value=lowest,
        max_value=highest,
        initial=initial,
        help_text=help_text,
        error_messages=dict.fromkeys(names, whole),
    )


class ComparisonForm(forms.Form):
    """What a page can ask for; the command and the API can ask for more (options of single recipes, campaigns)."""

    recipes = forms.MultipleChoiceField(
        label="Recipes",
        widget=forms.CheckboxSelectMultiple,
        choices=policies,
        error_messages={"required": "Choose at least one recipe."},
    )
    seeds = number("Seeds", 1, 10, 3, help_text="Each recipe runs so often; intervals need two.")
    base_model = forms.ChoiceField(label="Base model")
    checker = forms.ChoiceField(
        label="Who knows the truth",
        required=False,
        help_text="Held-out answers are judged by this program, or by a reward model that no policy has learned from.",
    )
    settings = forms.ChoiceField(
        label="Options", required=False, help_text="Prepared ones give every recipe the same budget of answers."
    )
    test_prompts = number("Held-out prompts", 1, 10_000, 32)
    test_samples = number("Answers to each", 1, 64, 4)
    name = forms.CharField(label="Name", required=False, max_length=120)

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self.fields["recipes"].initial = list(DEFAULT_RECIPES)
        self.fields["base_model"].choices = [(base.name, base.name) for base in base_models()]
        self.fields["base_model"].initial = settings.BASE_MODEL
        self.fields["checker"].choices = [("", "a fresh reward model"), *((name, name) for name in CHECKERS)]
        words = {"": "each recipe's laptop preset"}
        self.fields["settings"].choices = [(name, words.get(name, f"prepared for {name}")) for name in SETTINGS]

    @property
    def options(self) -> dict[str, Any]:
        """For `start_comparison`."""
        given = {name: value for name, value in self.cleaned_data.items() if name in Options.model_fields}
        return {**given, "seeds": list(range(self.cleaned_data["seeds"]))}

    def take(self, error: Invalid) -> None:
        """Show what the action refused beside the fields it is about."""
        for problem in error.problems or [{"pointer": "", "message": error.message}]:
            name = problem["pointer"].removeprefix("/options/").partition("/")[0]
            self.add_error(name if name in self.fields else None, problem["message"])
