"""What a comparison is asked to do, typed and checked; all that is wrong is said at once."""

from __future__ import annotations

import json
import re
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from training.recipes import registry

SUBJECT = re.compile(r"(?P<recipe>\w+)(?::(?P<options>.+))?", re.DOTALL)
DEFAULT_RECIPES = ("sft", "dpo", "grpo")


class Options(BaseModel):
    """Options of a comparison. The form, the API and the command take the same ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipes: tuple[str, ...] = Field(
        DEFAULT_RECIPES,
        min_length=1,
        max_length=40,
        description="what is compared: recipes by name, or with options of their own as in grpo:lr=0.01,beta=0.04",
    )
    seeds: tuple[int, ...] = Field((0,), min_length=1, max_length=20, description="each recipe runs once with each")
    base_model: str = Field("tiny", description="what all start from")
    checker: str = Field("", description="a program that knows the truth; empty: fresh reward models judge held out")
    settings: str = Field("", description="prepared options for a world: support, words, ...; empty: laptop presets")
    labels: int = Field(
        0, ge=0, le=1_000_000, description="human acts of each kind that there are for one seed; 0: all that there are"
    )
    campaigns: tuple[UUID, ...] = Field((), description="one for each seed, whose records it learns from; empty: all")
    test_prompts: int = Field(32, ge=1, le=10_000, description="held-out prompts that each model is asked")
    test_samples: int = Field(4, ge=1, le=64, description="answers to each of them")
    test_seed: int = Field(0, ge=0, lt=2**31, description="of the held-out answers, the same for all")

    @field_validator("recipes")
    @classmethod
    def _can_be_compared(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for subject in value:
            read_subject(subject)
        if len(set(value)) != len(value):
            raise ValueError("the same recipe stands there twice; give one of them other options")
        return value

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value) or any(not 0 <= seed < 2**31 for seed in value):
            raise ValueError("seeds are different whole numbers from 0 to 2147483647")
        return value

    @field_validator("checker")
    @classmethod
    def _is_a_world(cls, value: str) -> str:
        if value:
            from training.worlds.registry import world  # numpy: not in the web's every start

            world(value)  # says what there is
        return value

    @model_validator(mode="after")
    def _one_campaign_a_seed(self) -> Options:
        if self.campaigns and len(self.campaigns) != len(self.seeds):
            raise ValueError("campaigns: name one for each seed, or none")
        return self


def read_subject(subject: str) -> tuple[str, dict[str, Any]]:
    """The recipe and its own options; raise ValueError where it is none that can be compared."""
    match = SUBJECT.fullmatch(subject.strip())
    if match is None or len(subject) > 60:
        raise ValueError(f"“{subject[:60]}” is no recipe with options, as in grpo:lr=0.01")
    recipe = registry.RECIPES.get(match["recipe"])
    if recipe is None or recipe.produces != "policy":
        known = ", ".join(name for name, one in registry.RECIPES.items() if one.produces == "policy")
        raise ValueError(f"there is no recipe “{match['recipe']}” that makes a policy; there are {known}")
    found = {}
    for piece in filter(None, (one.strip() for one in (match["options"] or "").split(","))):
        name, sign, value = piece.partition("=")
        if not sign:
            raise ValueError(f"“{piece}” is not an option and its value, as in lr=0.01")
        found[name.strip()] = as_value(value.strip())
    return match["recipe"], found


def as_value(text: str) -> Any:
    """A number, true or false; else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text
