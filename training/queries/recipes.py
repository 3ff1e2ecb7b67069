"""Recipes as forms and the API show them: every option with its type, bounds, unit, source and presets. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from redpen.accounts.errors import NotFound
from training.recipes import registry
from training.recipes.base import Recipe


@dataclass(frozen=True, kw_only=True)
class Option:
    """One field of a recipe's config, as a form draws it."""

    name: str
    title: str
    sentence: str
    kind: str  # integer, number, boolean, choice or text
    unit: str = ""
    source: str = ""
    bounds: str = ""
    least: float | None = None
    most: float | None = None
    optional: bool = False
    choices: tuple[str, ...] = ()
    presets: Mapping[str, Any] = field(default_factory=dict)


def recipe_named(name: str) -> Recipe:
    try:
        return registry.get(name)
    except registry.NoSuchRecipe as error:
        raise NotFound(str(error)) from error


def all_recipes() -> list[Recipe]:
    return list(registry.RECIPES.values())


def options_of(recipe: Recipe) -> list[Option]:
    return [option(name, spec) for name, spec in recipe.schema()["properties"].items()]


def option(name: str, spec: Mapping[str, Any]) -> Option:
    """From the JSON schema of one property."""
    kinds = [one for one in spec.get("anyOf", [spec]) if one.get("type") != "null"]
    shape = {**spec, **kinds[0]}
    choices = tuple(str(one) for one in shape.get("enum", ()))
    kind = "choice" if choices else {"string": "text"}.get(shape.get("type", ""), shape.get("type", "text"))
    return Option(
        name=name,
        title=name.replace("_", " "),
        sentence=spec.get("description", ""),
        kind=kind,
        unit=spec.get("unit", ""),
        source=spec.get("source", ""),
        bounds=bounds(shape),
        least=shape.get("minimum", shape.get("exclusiveMinimum")),
        most=shape.get("maximum", shape.get("exclusiveMaximum")),
        optional=len(kinds) < len(spec.get("anyOf", [spec])),
        choices=choices,
        presets=spec.get("presets", {}),
    )


def bounds(shape: Mapping[str, Any]) -> str:
    """`1 to 50`, `above 0, at most 0.1`, `at least 8`, or nothing."""
    low, high = shape.get("minimum"), shape.get("maximum")
    above, below = shape.get("exclusiveMinimum"), shape.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f"{low:,} to {high:,}"
    words = []
    for value, word in ((low, "at least"), (above, "above"), (high, "at most"), (below, "below")):
        if value is not None:
            words.append(f"{word} {value:,}")
    return ", ".join(words)
