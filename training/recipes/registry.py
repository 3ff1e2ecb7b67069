"""The recipes there are. Torch-free."""

from __future__ import annotations

from training.recipes import (
    critique_grpo,
    critique_model,
    dpo,
    evaluation,
    fine_grained_rlhf,
    grpo,
    nft,
    ppo,
    preference_model,
    raft,
    rejection_sampling,
    reward_model,
    rloo,
    segment_reward_model,
    sft,
    span_reward_model,
    spo,
    text2grad,
)
from training.recipes.base import Recipe

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        span_reward_model.RECIPE,
        critique_model.RECIPE,
        text2grad.RECIPE,
        raft.RECIPE,
        ppo.RECIPE,
        grpo.RECIPE,
        rloo.RECIPE,
        rejection_sampling.RECIPE,
        sft.RECIPE,
        reward_model.RECIPE,
        dpo.RECIPE,
        critique_grpo.RECIPE,
        evaluation.RECIPE,
        nft.RECIPE,
        preference_model.RECIPE,
        spo.RECIPE,
        segment_reward_model.RECIPE,
        fine_grained_rlhf.RECIPE,
    )
}


class NoSuchRecipe(KeyError):
    """There is no recipe of this name."""

    def __str__(self) -> str:
        return f"There is no recipe named {self.args[0]!r}; there are {', '.join(sorted(RECIPES))}."


def get(name: str) -> Recipe:
    """The recipe of this name."""
    try:
        return RECIPES[name]
    except KeyError:
        raise NoSuchRecipe(name) from None
