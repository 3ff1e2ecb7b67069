"""What of a policy learns: an adapter on its base, or all of its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from training import engine
from training.recipes.base import RecipeConfig, option
from training.recipes.context import RunContext

if TYPE_CHECKING:
    from training.engine.policy import Policy


class Weights(RecipeConfig):
    """The option of recipes that can train all weights; they have `rank` and, for a KL to the first model, `beta`."""

    trained: Literal["adapter", "all"] = option(
        "adapter",
        "what learns: an adapter, or all weights. The adapter of a model of some ten thousand weights learns little",
        source="the papers: all",
    )

    @model_validator(mode="after")
    def _has_a_reference(self) -> Weights:
        if self.trained == "all" and getattr(self, "beta", 0):
            raise ValueError("with all weights trained the first model is gone, so there is no KL to it: set beta to 0")
        return self

    def policy(self, run: RunContext) -> Policy:
        """The run's base, or the policy that it goes on from."""
        given: dict[str, Any] = {"parent": run.models.get("policy"), "seed": run.seed}
        if self.trained == "all":
            return engine.policy.Policy.load(run.base_model, full=True, **given)
        lora = engine.policy.Lora(rank=self.rank)  # type: ignore[attr-defined]
        return engine.policy.Policy.load(run.base_model, lora=lora, **given)
