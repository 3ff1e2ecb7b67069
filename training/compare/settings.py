"""Options that recipes are compared with. The same budget for all: so many answers sampled by each that samples, so
many label acts for each that reads labels. In the toy worlds all weights of the small base learn, elsewhere adapters
of one size.

What is `common` goes to every recipe that has an option of that name; a recipe's own lines stand beside it. There is
one learning rate for all policies: none of them was tuned in this bench, their judges were.
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
    checked: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # ... where a program judges its answers

    def of(self, recipe: Recipe, *, checked: bool = False) -> dict[str, Any]:
        """What a run of this recipe is given over its laptop preset."""
        known = recipe.Config.model_fields
        return {
            **{name: value for name, value in self.common.items() if name in known},
            **self.own.get(recipe.name, {}),
            **(self.checked.get(recipe.name, {}) if checked else {}),
        }


ANSWERS = {
    "passage_tokens": 0,
    "new_answers": 0,
    "held_out": 0,
    "evaluate_every": 0,
    "every": 0,
    "watch_answers": 0,
    "empty": 0.0,
    "missing_stop": 0.0,
    "reduction": "mean",
    "schedule": "constant",
}
# learning from what people wrote or compared
SFT = {"rewrites": True, "reviewed": False, "liked": False, "demonstrations": False}
BY_PROGRAM = {
    "critique": "text",
    "critic": "program",
    "rewrites": False,
}  # where a checker judges, its world criticises

# Judges in the toy worlds, chosen on seeds 100 and 101 with 2,000 acts: they need a low rate and a wide adapter. At
# 0.003 the reward model told no more than the answers' length (0.56 of held-out pairs; at 0.001 0.80), at 0.01 the
# span reward model learned nothing (token AUROC 0.55; at 0.001 0.90).
BY_PAIRS = {"rank": 48, "epochs": 12, "batch_size": 16, "lr": 0.001, "head_lr": 0.01}
BY_MARKS = {"rank": 48, "epochs": 30, "batch_size": 8, "lr": 0.001, "head_lr": 0.003}

# answers of a dozen words, a model of some tens of thousands of parameters: seconds a run, 1,536 answers each
TOY = Settings(
    common={
        **ANSWERS,
        "trained": "all",  # an adapter of a model of sixty thousand weights learns little
        "rank": 8,
        "lr": 0.001,
        "temperature": 1.0,
        "max_new_tokens": 13,  # twelve words and the stop: a judge of length finds nothing to gain
        "max_prompt_tokens": 64,
        "max_tokens": 128,
        "steps": 12,
        "prompts": 16,
        "samples": 8,
        "critic": "head",
        "critic_lr": 0.01,
        "head_lr": 0.01,
        "micro_batch_tokens": 2048,
        "decode_rows": 128,
    },
    own={
        "sft": {**SFT, "epochs": 2, "batch_size": 16},
        "dpo": {"epochs": 2, "batch_size": 16, "beta": 0.1},
        "grpo": {"beta": 0.02},
        "ppo": {"epochs": 2, "beta": 0.02},
        "rloo": {"beta": 0.02},
        "raft": {"rounds": 4, "prompts": 48, "batch_size": 16},
        "text2grad": {"epochs": 2, "beta": 0.02, "gamma": 0.0},
        "fine_grained_rlhf": {"epochs": 2, "beta": 0.02, "kl_patience": 0},
        "spo": {"beta": 0.02, "held_out_answers": 1},
        "nft": {"threshold": 0.0, "tries": 0, "held_out_answers": 1},
        "critique_grpo": {"threshold": 0.0, "critique": "simple", "critic": "self"},
        "rejection_sampling": {"prompts": 192, "batch_size": 16},
        "reward_model": BY_PAIRS,
        "preference_model": BY_PAIRS,
        "span_reward_model": {**BY_MARKS, "echo": False},
        "segment_reward_model": {
            **BY_MARKS,
            "shortest": 1,
            "pooled": True,
            "categories": "bad=*",
            "segments": "bad=words:1",
        },
    },
    checked={
        "nft": {"threshold": 0.75},
        "critique_grpo": {**BY_PROGRAM, "threshold": 0.75, "program": "words", "refiner": "words"},
    },
)

# sentences of a hundred tokens and the million parameters of the tiny base: a minute or two a run, 768 answers each
SUPPORT = Settings(
    common={
        **ANSWERS,
        "rank": 8,
        "lr": 2e-3,
        "temperature": 0.8,
        "max_new_tokens": 110,
        "max_prompt_tokens": 128,
        "max_tokens": 320,
        "steps": 12,
        "prompts": 8,
        "samples": 8,
        "critic": "head",
        "critic_lr": 2e-3,
        "head_lr": 0.01,
        "micro_batch_tokens": 1024,
        "decode_rows": 64,
    },
    own={
        "sft": {**SFT, "epochs": 3, "batch_size": 8},
        "dpo": {"epochs": 3, "batch_size": 8, "beta": 0.1},
        "raft": {"rounds": 3, "prompts": 32, "batch_size": 8},
        "spo": {"held_out_answers": 1},
        "nft": {"threshold": 0.0, "tries": 0, "held_out_answers": 1},
        "critique_grpo": {"threshold": 0.0, "critique": "simple", "critic": "self"},
        "rejection_sampling": {"prompts": 96, "batch_size": 8},
        "reward_model": {"epochs": 4, "batch_size": 8},
        "preference_model": {"epochs": 4, "batch_size": 8},
        "span_reward_model": {"epochs": 4, "batch_size": 8, "echo": False},
        "segment_reward_model": {
            "epochs": 4,
            "batch_size": 8,
            "shortest": 1,
            "categories": "bad=*",
            "segments": "bad=sentence",
        },
    },
    checked={
        "nft": {"threshold": 0.75},
        "critique_grpo": {**BY_PROGRAM, "threshold": 0.75, "program": "support"},
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
    "text2grad": ("prompt",),
    "critique_grpo": ("prompt", "rewrite"),
}

# Who judges the answers of recipes that may be judged by several; where options of their own name a checker, nobody.
JUDGES: dict[str, tuple[str, ...]] = {
    "text2grad": ("span_reward_model",),
    "nft": ("reward_model",),
    "critique_grpo": ("reward_model",),
    "spo": ("preference_model",),
}


def settings_for(name: str) -> Settings:
    """By the world's name, whatever stands behind it ("words:hard"); laptop presets where nothing is prepared."""
    return SETTINGS.get(name.partition(":")[0].partition("-")[0], SETTINGS[""])
