"""Categories of error, as the options of a recipe name them: which labels make one, and how answers are cut for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from training import engine
from training.recipes.context import RecipeError, RunContext

if TYPE_CHECKING:
    from training.engine.segment_scoring import Category


def categories_of(words: str) -> dict[str, tuple[str, ...]]:
    """From "relevance=Irrelevant+Redundant, factuality=Wrong-Grounding"; raise ValueError where it does not read so."""
    found: dict[str, tuple[str, ...]] = {}
    for piece in filter(None, (one.strip() for one in words.split(","))):
        match = re.fullmatch(r"(\w+) *= *([^=]+)", piece)
        labels = tuple(filter(None, (one.strip() for one in match[2].split("+")))) if match else ()
        if match is None or not labels or match[1] in found:
            raise ValueError(
                f"“{piece}” is not a new category and its labels; write relevance=Irrelevant+Redundant, "
                "factuality=Wrong-Grounding."
            )
        found[match[1]] = labels
    return found


def segmenters_of(words: str) -> dict[str, str]:
    """From "relevance=clause, factuality=sentence"; raise ValueError where it does not read so."""
    found = {}
    for piece in filter(None, (one.strip() for one in words.split(","))):
        name, _, how = (one.strip() for one in piece.partition("="))
        if not how:
            raise ValueError(f"“{piece}” is not a category and its segments; write relevance=clause.")
        engine.segments.segmenter(how)
        found[name] = how
    return found


def chosen_categories(run: RunContext, categories: str, *, facts: str, segments: str) -> list[Category]:
    """What the options name, or one for each label of bad phrases; RecipeError where they name what there is not."""
    labels = [label for label in run.labels if (label.get("sentiment") or -1) < 0]
    known = {str(one) for label in labels for one in names_of(label)}
    named = categories_of(categories)
    if not named:
        named = {re.sub(r"\W", "_", str(label["key"])): (str(label["key"]),) for label in labels}
    if not named:
        raise RecipeError(
            "run.categories",
            "The snapshot has no labels of bad phrases, so there are no categories.",
            "Label the marks, or write categories as bad=* to take all bad marks together.",
        )
    said = {one for labels_ in named.values() for one in labels_} - {"*"}
    if known and (strange := sorted(said - known)):
        there = ", ".join(str(label["key"]) for label in labels)
        raise RecipeError(
            "run.categories", f"There is no label {', '.join(strange)}; there are {there}.", "Name only these."
        )
    of_facts = {one.strip() for one in facts.split(",") if one.strip()}
    cut = segmenters_of(segments)
    if strange := sorted((of_facts | cut.keys()) - named.keys()):
        raise RecipeError(
            "run.categories",
            f"facts and segments name {', '.join(strange)}; the categories are {', '.join(named)}.",
            "Name only these.",
        )
    # a mark's label is stored by id, key or name: a category knows its labels by all of them
    every = {name: {str(one) for one in names_of(label)} for label in labels for name in map(str, names_of(label))}
    return [
        engine.segment_scoring.Category(
            name=name,
            labels=tuple(sorted({one for label in said_ for one in every.get(label, {label})})),
            segments=cut.get(name, "sentence" if name in of_facts else "clause"),
            facts=name in of_facts,
        )
        for name, said_ in named.items()
    ]


def names_of(label: Mapping[str, Any]) -> set[Any]:
    """All that a mark may call its label."""
    return {label.get("id"), label.get("key"), label.get("name")} - {None}
