"""From options to the graph: for every recipe and seed the model that judges, the policy, and its evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from training.actions.runs import ROWS_OF
from training.compare.options import Options, read_subject
from training.compare.settings import JUDGES, READS, settings_for
from training.recipes import registry
from training.recipes.base import Recipe, kinds_of
from training.snapshots.query import RowKind

BASELINE = "before"  # what the model that all start from is called
FRESH_SEED = 7001  # added to a seed for the reward model that judges held-out answers where no program knows the truth


@dataclass(frozen=True)
class Place:
    """One run of the graph."""

    place: str
    subject: str
    part: str  # judge, policy, evaluation
    seed: int | None
    recipe: str
    config: Mapping[str, Any]
    run_seed: int
    kinds: tuple[RowKind, ...]  # the rows that it reads
    campaign: int | None = None  # which of the options' campaigns
    after: tuple[str, ...] = field(default=())


def judges_of(recipe: Recipe, own: Mapping[str, Any] | None = None) -> list[str]:
    """The recipes that make what judges this one's answers. Of alternatives that it needs the first that some recipe
    makes; where it needs none, those of `JUDGES`, unless options of its own name a program.
    """
    if not recipe.needs:
        return [] if (own or {}).get("checker") else list(JUDGES.get(recipe.name, ()))
    makers = {
        one.produces: one.name for one in registry.RECIPES.values() if one.produces not in ("policy", "evaluation")
    }
    found = []
    for need in recipe.needs:
        maker = next((makers[kind] for kind in kinds_of(need) if kind in makers), None)
        if maker is None:
            raise ValueError(f"{recipe.name} needs a {need}, which no recipe makes")
        found.append(maker)
    return found


def rows_of(recipe: Recipe) -> tuple[RowKind, ...]:
    """The kinds of rows that a run reads in a comparison, so that its labels can be counted."""
    if recipe.name in READS:
        return READS[recipe.name]  # type: ignore[return-value]
    return tuple(dict.fromkeys(ROWS_OF[kind] for kind in recipe.consumes))


def plan(options: Options) -> list[Place]:
    """Every run, those that others come after first. The model that all start from is evaluated once."""
    settings = settings_for(options.settings)
    places: dict[str, Place] = {}

    def add(place: Place) -> str:
        places.setdefault(place.place, place)
        return place.place

    def judge(name: str, number: int, seed: int, *, fresh: bool = False) -> str:
        recipe = registry.get(name)
        return add(
            Place(
                place=f"{name}/{seed}/{'fresh judge' if fresh else 'judge'}",
                subject=name,
                part="judge",
                seed=seed,
                recipe=name,
                config=settings.of(recipe),
                run_seed=FRESH_SEED + seed if fresh else seed,
                kinds=rows_of(recipe),
                campaign=number if options.campaigns else None,
                after=tuple(judge(other, number, seed) for other in judges_of(recipe)),
            )
        )

    def evaluation(subject: str, seed: int | None, after: tuple[str, ...]) -> None:
        recipe = registry.get("evaluation")
        config = {**settings.of(recipe), "prompts": options.test_prompts, "samples": options.test_samples}
        if options.checker:
            config["checker"] = options.checker
        else:
            after = (*after, judge("reward_model", 0, options.seeds[0], fresh=True))
        add(
            Place(
                place=f"{subject}/{seed}/evaluation" if seed is not None else f"{subject}/evaluation",
                subject=subject,
                part="evaluation",
                seed=seed,
                recipe="evaluation",
                config=config,
                run_seed=options.test_seed,
                kinds=("prompt",),
                after=after,
            )
        )

    evaluation(BASELINE, None, ())
    for number, seed in enumerate(options.seeds):
        for subject in options.recipes:
            name, own = read_subject(subject)
            recipe = registry.get(name)
            checked = bool(own.get("checker"))
            config = {**settings.of(recipe, checked=checked), **own}
            policy = add(
                Place(
                    place=f"{subject}/{seed}/policy",
                    subject=subject,
                    part="policy",
                    seed=seed,
                    recipe=name,
                    config=config,
                    run_seed=seed,
                    kinds=("prompt",) if checked else rows_of(recipe),
                    campaign=number if options.campaigns else None,
                    after=tuple(judge(one, number, seed) for one in judges_of(recipe, own)),
                )
            )
            evaluation(subject, seed, (policy,))
    return list(places.values())
