"""Options that recipes are compared with. The same budget for all: so many answers sampled by each that samples, so
many label acts for each that reads labels, adapters of one size.

`COMMON` goes to every recipe that has an option of that name; a recipe's own lines stand beside it. The learning rates
were chosen on seeds from 100 up, each from the same short list for every recipe; reported seeds are below 100.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from training.recipes.base import Recipe


@dataclass(frozen=True)
class Settings:
    """Options for one kind of data."""

    common: Mapping[str, Any]
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by recipe

    def of(self, recipe: Recipe) -> dict[str, Any]:
        """What a run of this recipe is given over its laptop preset."""
        known = recipe.Config.model_fields
        return {
            **{name: value for name, value in self.common.items() if name in known},
            **self.own.get(recipe.name, {}),
        }


ANSWERS = {"passage_tokens": 0, "new_answers": 0, "held_out": 0, "evaluate_every": 0, "every": 0}

# one-word answers of a dozen tokens, a model of some tens of thousands of parameters: seconds a run
TOY = Settings(
    common={
        **ANSWERS,
        "rank": 8,
        "temperature": 1.0,
        "max_new_tokens": 14,
        "max_prompt_tokens": 32,
        "max_tokens": 64,
        "steps": 24,
        "prompts": 16,
        "samples": 8,
        "schedule": "constant",
        "micro_batch_tokens": 2048,
        "decode_rows": 128,
    },
    own={
        "sft": {"epochs": 4, "batch_size": 16, "lr": 0.01, "reviewed": False, "liked": False, "demonstrations": False},
        "dpo": {"epochs": 4, "batch_size": 16, "lr": 0.01, "beta": 0.1},
        "reward_model": {"epochs": 6, "batch_size": 16, "lr": 0.01, "head_lr": 0.01},
        "span_reward_model": {"epochs": 6, "batch_size": 16, "lr": 0.01, "head_lr": 0.01, "echo": False},
        "evaluation": {},
    },
)

# sentences of a hundred tokens and the million parameters of the tiny base: a minute or two a run
SUPPORT = Settings(
    common={
        **ANSWERS,
        "rank": 8,
        "temperature": 0.8,
        "max_new_tokens": 110,
        "max_prompt_tokens": 128,
        "max_tokens": 320,
        "steps": 12,
        "prompts": 8,
        "samples": 8,
        "schedule": "constant",
        "micro_batch_tokens": 1024,
        "decode_rows": 64,
    },
    own={
        "sft": {"epochs": 3, "batch_size": 8, "lr": 2e-3, "reviewed": False, "liked": False, "demonstrations": False},
        "dpo": {"epochs": 3, "batch_size": 8, "lr": 2e-3, "beta": 0.1},
        "reward_model": {"epochs": 4, "batch_size": 8, "lr": 3e-3, "head_lr": 1e-2},
        "span_reward_model": {"epochs": 4, "batch_size": 8, "lr": 3e-3, "head_lr": 1e-2, "echo": False},
        "evaluation": {},
    },
)

SETTINGS: dict[str, Settings] = {
    "": Settings(common={"new_answers": 0}),
    "support": SUPPORT,
    "words": TOY,
    "digits": TOY,
    "cycles": TOY,
}

# The label acts that a recipe reads here: one kind for each, so that they can be counted. Those that are not named
# read all that they consume.
READS: dict[str, tuple[str, ...]] = {
    "sft": ("rewrite",),
    "dpo": ("preference",),
    "reward_model": ("preference",),
    "preference_model": ("preference",),
}


def settings_for(name: str) -> Settings:
    """By the world's name, whatever stands behind it ("words:hard"); laptop presets where nothing is prepared."""
    return SETTINGS.get(name.partition(":")[0].partition("-")[0], SETTINGS[""])
